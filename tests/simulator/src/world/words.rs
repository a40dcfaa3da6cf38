//! Records and events in a few words, for stories.

use warifu_consensus::agree::{Event, Outcome, Record};

/// A record in a few words.
#[must_use]
pub fn brief(record: &Record) -> String {
    match record {
        Record::Sealed(s) => format!(
            "sealed {} {}",
            s.block.claims().kind,
            s.block.claims().height
        ),
        Record::DeviceLock(b) => format!("its lock on {} {}", b.claims().kind, b.claims().height),
        Record::BrokerLock(l) => format!(
            "its lock on {} {}",
            l.block.claims().kind,
            l.block.claims().height
        ),
        Record::RestrictLock(l) => {
            let c = l.block.claims();
            let over = if c.supersedes.is_some() {
                " superseding"
            } else {
                ""
            };
            format!("its signature of {} {}{over}", c.kind, c.height)
        }
        Record::Word(w) => format!("word {} above {}", w.word.verb, w.above),
        Record::Founding(_) => "founding".into(),
        Record::Body { .. } => "body".into(),
        Record::Checkpoint(c) => format!("checkpoint at {}", c.head().height),
        Record::Settled => "nothing owed".into(),
        Record::Acked(h) => format!("ack of {}", h.height),
        Record::Conflict(s) => format!("conflict at {}", s.block.claims().height),
        other => format!("{other:?}"),
    }
}

pub(super) fn brief_event(event: &Event) -> String {
    match event {
        Event::Prompt(p) => format!("prompt {} {}", p.claims.kind, p.claims.height),
        Event::Sealed(s) => format!(
            "sealed {} {}",
            s.block.claims().kind,
            s.block.claims().height
        ),
        Event::Ended { outcome, .. } => match outcome {
            Outcome::Admitted(s) => {
                format!("admitted {}", s.block.claims().height)
            }
            other => format!("ended {other:?}"),
        },
        other => format!("{other:?}"),
    }
}
