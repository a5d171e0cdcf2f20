//! What begins and ends arrays and agents.

use spawn_core::array_id::ArrayId;
use spawn_core::moment::UnixMicros;
use spawn_core::task::Intent;
use spawn_ports::ledger::{AgentId, ArrayRecord, LedgerError, NewAgent, NewArray};

use super::hot::{Frame, Hot, fresh_name};
use super::items::{Edit, Read, number, text, to_json};
use super::reads::Enrolment;
use super::rows::intent_code;
use super::wire::{Search, Write};
use super::{DynamoLedger, Fail, ROUNDS, keys};
use crate::DynamoApi;

/// The most bytes of a specification in one item.
const PART: usize = 60 << 10;
/// The most bytes of a specification: what a transaction takes, were every byte escaped.
const SPEC: usize = 3 << 20;

impl<A: DynamoApi> DynamoLedger<A> {
    /// The next number of this kind. One whose answer was lost is never given.
    fn next_number(&mut self, kind: &str) -> Result<u64, Fail> {
        let counted = self
            .wire
            .update(keys::counters(), Edit::new().add(kind, 1))?;
        counted.need(kind)
    }

    pub(super) fn add_array(&mut self, array: &NewArray, now: UnixMicros) -> Result<(), Fail> {
        let lanes = array.lane_ranges()?;
        if array.spec.len() > SPEC {
            return Err(Fail::Broken(format!(
                "a specification of {} bytes does not fit; the most is {SPEC}",
                array.spec.len()
            )));
        }
        if let Some(frame) = self.frame_if(&array.id)? {
            return self.duplicate(&frame, array, now);
        }
        let seq = self.next_number("arrays")?;
        let parts = split(&array.spec);
        let mut frame = array.clone();
        frame.spec.clear();
        let mut writes = Vec::with_capacity(parts.len() + 1);
        for (n, part) in parts.iter().enumerate() {
            let mut item = keys::spec(&array.id, n);
            let mut put = |name: &str, value| item.insert(name.to_owned(), value);
            put("spec", text(*part));
            if n == 0 {
                put("x", text(to_json(&frame)?));
                put("parts", number(parts.len()));
                put("number", number(seq));
                put("created_at", number(now.0));
                put("ip", text(keys::ARRAYS));
                put("is", text(keys::ordered(seq)));
            }
            writes.push(Write::new(item));
        }
        let mut head = keys::head(&array.id);
        let mut put = |name: &str, value| head.insert(name.to_owned(), value);
        put("it", number(intent_code(Intent::Run)));
        put("ep", number(0));
        put("dl", number(array.deadline.0));
        put("tk", number(0));
        for (lane, range) in lanes.iter().enumerate() {
            put(&fresh_name(lane), number(range.start));
        }
        put("ip", text(keys::OPEN));
        put("is", text(keys::ordered(seq)));
        writes.push(Write::new(head));
        match self.wire.transact(writes) {
            Err(error) if error.is_condition() => {
                let frame = self.frame(&array.id)?;
                self.duplicate(&frame, array, now)
            }
            written => Ok(written?),
        }
    }

    /// The array is there already. If it is this very one, the answer of an earlier call was lost.
    fn duplicate(&self, frame: &Frame, array: &NewArray, now: UnixMicros) -> Result<(), Fail> {
        if frame.submitted == *array && frame.created_at == now {
            return Ok(());
        }
        Err(LedgerError::Duplicate(array.id.clone()).into())
    }

    pub(super) fn add_agent(&mut self, agent: &NewAgent, now: UnixMicros) -> Result<AgentId, Fail> {
        let frame = self.frame(&agent.array)?;
        if agent.lane as usize >= frame.lanes.len() {
            return Err(LedgerError::UnknownLane {
                array: agent.array.clone(),
                lane: agent.lane,
            }
            .into());
        }
        let id = AgentId(self.next_number("agents")?);
        let mut enrolment = keys::enrolment(id);
        enrolment.insert("x".to_owned(), text(to_json(agent)?));
        enrolment.insert("sa".to_owned(), number(now.0));
        let mut live = keys::live(&agent.array, id);
        let mut put = |name: &str, value| live.insert(name.to_owned(), value);
        put("ln", number(agent.lane));
        put("lu", number(now.0));
        put("lt", number(0));
        put("ip", text(keys::LIVE));
        put("is", text(keys::ordered(id.0)));
        self.wire
            .transact(vec![Write::new(enrolment), Write::new(live)])?;
        let enrolment = Enrolment {
            said: agent.clone(),
            started_at: now,
        };
        self.enrolments.insert(id, enrolment);
        Ok(id)
    }

    /// Writes down that an array has ended, if it has.
    pub(super) fn finish(&mut self, frame: &Frame, now: UnixMicros) -> Result<(), Fail> {
        let hot = self.hot(frame)?;
        if hot.counts(frame).all_ended() {
            self.write_end(frame, &hot, now)?;
        }
        Ok(())
    }

    /// Writes down the end of an array that was seen to have ended.
    pub(super) fn write_end(
        &mut self,
        frame: &Frame,
        hot: &Hot,
        at: UnixMicros,
    ) -> Result<(), Fail> {
        let edit = Edit::new()
            .set("ea", number(at.0))
            .remove("ip")
            .remove("is")
            // Not if it was opened again meanwhile.
            .if_equal("ep", number(hot.head.epoch))
            .if_absent("ea");
        match self.wire.update(keys::head(&frame.submitted.id), edit) {
            Err(error) if error.is_condition() => Ok(()),
            written => Ok(written.map(|_| ())?),
        }
    }

    pub(super) fn close_array(
        &mut self,
        id: &ArrayId,
        intent: Intent,
        now: UnixMicros,
    ) -> Result<ArrayRecord, Fail> {
        let frame = self.frame(id)?;
        for round in 1..=ROUNDS {
            let hot = self.hot(&frame)?;
            let ended = hot.counts(&frame).all_ended();
            if hot.head.intent != Intent::Run || intent == Intent::Run || ended {
                return Ok(hot.record(&frame));
            }
            let edit = Edit::new()
                .set("it", number(intent_code(intent)))
                .set("ca", number(now.0))
                .add("ep", 1)
                .if_equal("ep", number(hot.head.epoch));
            match self.wire.update(keys::head(id), edit) {
                Err(error) if error.is_condition() => self.wire.retries.pause(round),
                closed => {
                    closed?;
                    self.finish(&frame, now)?;
                    return Ok(self.hot(&frame)?.record(&frame));
                }
            }
        }
        Err(Fail::Broken(format!(
            "array `{id}` changed at every attempt to close it"
        )))
    }

    pub(super) fn move_deadline(
        &mut self,
        id: &ArrayId,
        deadline: UnixMicros,
    ) -> Result<ArrayRecord, Fail> {
        let frame = self.frame(id)?;
        let hot = self.hot(&frame)?;
        if hot.head.intent != Intent::Run || hot.counts(&frame).all_ended() {
            return Ok(hot.record(&frame));
        }
        let edit = Edit::new()
            .set("dl", number(deadline.0))
            .if_equal("ep", number(hot.head.epoch))
            .if_absent("ea");
        match self.wire.update(keys::head(id), edit) {
            // It ended or was closed meanwhile: nothing changes.
            Err(error) if error.is_condition() => {}
            moved => moved.map(|_| ())?,
        }
        Ok(self.hot(&frame)?.record(&frame))
    }

    pub(super) fn read_unfinished(&mut self) -> Result<Vec<ArrayRecord>, Fail> {
        let mut records = self.listed(&Search {
            of: keys::OPEN.to_owned(),
            ..Search::default()
        })?;
        records.retain(|record| !record.counts.all_ended());
        Ok(records)
    }
}

/// Parts of a specification that fit into items; at least one.
fn split(spec: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut left = spec;
    while left.len() > PART {
        let (part, rest) = left.split_at(left.floor_char_boundary(PART));
        parts.push(part);
        left = rest;
    }
    parts.push(left);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_specification_is_split_between_characters() {
        let spec = "ü".repeat(PART);
        let parts = split(&spec);
        assert_eq!(parts.len(), 2);
        assert_eq!(parts.concat(), spec);
        assert_eq!(split(""), [""]);
    }
}
