//! What one run looks at: who cheats, who is restored, how far, and which guard is left out.
//!
//! Decides bounds only. Never decides what a party may do.

use crate::{
    guard::Guard,
    party::{Parties, Party},
};

/// One run of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Its name in the table.
    pub name: &'static str,
    /// Parties that send anything which they can compose.
    pub cheats: Parties,
    /// Parties that come back once from an older copy.
    pub restores: Parties,
    /// Blocks above the genesis, at most.
    pub heights: u8,
    /// How often the clock passes an `exp`.
    pub ticks: u8,
    /// Words that the device says, 0…3.
    pub words: u8,
    /// Whether the desk asks once for a freeze, and unfreezes are begun.
    pub desk: bool,
    /// Whether a stranger begins logins too.
    pub stranger: bool,
    /// Whether logins are cancelled, and refused by the trust operator for reasons of its own.
    pub ends: bool,
    /// Parties that lose their RAM.
    pub crashes: Parties,
    /// Whether every state is carried on to its end, to see that nothing is stuck.
    pub goes_on: bool,
    /// The seeded mistake.
    pub off: Option<Guard>,
}

impl Config {
    /// All honest, one height, nothing special.
    pub const SMALL: Self = Self {
        name: "small",
        cheats: Parties::NONE,
        restores: Parties::NONE,
        heights: 1,
        ticks: 1,
        words: 0,
        desk: false,
        stranger: false,
        ends: false,
        crashes: Parties::ALL,
        goes_on: false,
        off: None,
    };

    /// Whether a guard is kept.
    #[must_use]
    pub fn keeps(&self, guard: Guard) -> bool {
        self.off != Some(guard)
    }

    /// Whether "What holds" of docs/protocol.md speaks of it. Not claimed: one operator restored while
    /// the other cheats, both operators restored, and a restored device with cheating operators.
    #[must_use]
    pub const fn is_claimed(&self) -> bool {
        let (cheats, restores) = (self.cheats, self.restores);
        let no_operator = !(restores.has(Party::Broker) || restores.has(Party::TrustOperator));
        let one_of_two = restores.has(Party::Broker) && cheats.has(Party::TrustOperator)
            || restores.has(Party::TrustOperator) && cheats.has(Party::Broker);
        let both = restores.has(Party::Broker) && restores.has(Party::TrustOperator);
        let cheating = cheats.has(Party::Broker) && cheats.has(Party::TrustOperator);
        !(one_of_two || both || cheating && restores.has(Party::Device) && no_operator)
    }

    /// The same run without one guard.
    #[must_use]
    pub const fn without(self, guard: Guard) -> Self {
        Self {
            off: Some(guard),
            ..self
        }
    }
}
