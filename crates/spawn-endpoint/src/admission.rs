//! What a request gets once its signature is verified, and not before.

use std::sync::{Arc, Mutex, PoisonError};

use crate::bodies::{Bodies, BodyFault, Room};
use crate::guests::Guest;
use crate::server::{Activity, InFlight};

/// Lets one request in: it counts as activity, and its connection as that of a client.
#[derive(Clone)]
pub(crate) struct Admission(Arc<Door>);

struct Door {
    activity: Arc<Activity>,
    guest: Arc<Guest>,
    bodies: Arc<Bodies>,
    admitted: Mutex<Admitted>,
}

/// What a request holds from the moment it is let in until its answer is sent or dropped.
#[derive(Debug, Default)]
pub(crate) struct Admitted {
    in_flight: Option<InFlight>,
    room: Option<Room>,
}

impl Admission {
    pub(crate) fn new(activity: &Arc<Activity>, guest: &Arc<Guest>, bodies: &Arc<Bodies>) -> Self {
        Self(Arc::new(Door {
            activity: Arc::clone(activity),
            guest: Arc::clone(guest),
            bodies: Arc::clone(bodies),
            admitted: Mutex::default(),
        }))
    }

    /// The signature of the request fits.
    pub(crate) fn admit(&self) {
        self.0.guest.verified();
        let begun = self.0.activity.begin();
        self.hold(|admitted| admitted.in_flight = Some(begun));
    }

    /// Room for a body that will be held in memory until the request is answered.
    pub(crate) async fn reserve(&self, length: usize) -> Result<(), BodyFault> {
        let room = Arc::clone(&self.0.bodies).reserve(length).await?;
        self.keep(room);
        Ok(())
    }

    /// A body of `length` bytes will go to the disk.
    pub(crate) fn pass(&self, length: usize) {
        self.keep(Arc::clone(&self.0.bodies).passing(length));
    }

    /// Holds `room` until the request is answered.
    pub(crate) fn keep(&self, room: Room) {
        self.hold(|admitted| admitted.room = Some(room));
    }

    /// What the request holds, to go with its answer.
    pub(crate) fn take(&self) -> Admitted {
        let mut taken = Admitted::default();
        self.hold(|admitted| std::mem::swap(admitted, &mut taken));
        taken
    }

    fn hold(&self, change: impl FnOnce(&mut Admitted)) {
        let mut admitted = self
            .0
            .admitted
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        change(&mut admitted);
    }
}
