//! From the settings of retries to the budgets of an array.

use spawn_core::budgets::Budgets;

use crate::error::{SpecError, SpecErrorKind};
use crate::settings::Settings;

/// Checks the settings against each other and fills in the defaults.
pub(crate) fn budgets(settings: &Settings) -> Result<Budgets, SpecError> {
    let default = Budgets::default();
    let retries = settings.retries.as_ref().map_or(0, |retries| retries.value);
    if retries == 0 {
        // Without retries these would say nothing. A configuration may, for launches that have.
        let idle = [
            settings.backoff.as_ref().map(|given| &given.origin),
            settings.backoff_max.as_ref().map(|given| &given.origin),
            settings.retry_on.as_ref().map(|given| &given.origin),
            settings.no_retry_on.as_ref().map(|given| &given.origin),
        ];
        if let Some(origin) = idle.into_iter().flatten().find(|from| !from.is_config()) {
            let (origin, needs) = (origin.clone(), "--retries");
            return Err(SpecErrorKind::Needs { origin, needs }.into());
        }
    }
    let first = settings.backoff.as_ref().map(|given| given.value.0);
    let most = settings.backoff_max.as_ref().map(|given| given.value.0);
    let (first, most) = match (first, most) {
        (Some(first), Some(most)) => (first, most),
        // The one that is not given makes room for the other.
        (Some(first), None) => (first, first.max(default.backoff_max_millis)),
        (None, Some(most)) => (most.min(default.backoff_millis), most),
        (None, None) => (default.backoff_millis, default.backoff_max_millis),
    };
    if let (Some(backoff), Some(max), true) =
        (&settings.backoff, &settings.backoff_max, first > most)
    {
        return Err(SpecErrorKind::BackoffBeyondMax {
            backoff: backoff.origin.with(backoff.value),
            max: max.origin.with(max.value),
        }
        .into());
    }
    let interruptions = settings.max_interruptions.as_ref().map(|most| most.value);
    Ok(Budgets {
        exit: retries,
        timeout: retries,
        out_of_memory: retries,
        launch_failed: retries,
        interrupted: interruptions.unwrap_or(default.interrupted),
        worker_lost: interruptions.unwrap_or(default.worker_lost),
        backoff_millis: first,
        backoff_max_millis: most,
        retry_on: settings.retry_on.as_ref().map(|codes| codes.value),
        no_retry_on: settings.no_retry_on.as_ref().map(|codes| codes.value),
    })
}
