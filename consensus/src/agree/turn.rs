//! One call into a machine: the moment, the randomness, and the outputs being collected.

use crate::{party::Role, random::Entropy, time::Time, wire::Agree};

use super::types::{Event, Output};

/// The outputs being collected, and the moment.
pub(super) struct Turn<'e, E: Entropy> {
    pub(super) now: Time,
    pub(super) out: Vec<Output>,
    pub(super) entropy: &'e mut E,
}

impl<E: Entropy> Turn<'_, E> {
    pub(super) fn send(&mut self, to: Role, agree: Agree) {
        self.out.push(Output::Send { to, agree });
    }
    pub(super) fn tell(&mut self, event: Event) {
        self.out.push(Output::Tell(event));
    }
}
