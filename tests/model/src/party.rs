//! The three parties, and sets of them.

/// A party.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Party {
    /// The customer's device.
    Device,
    /// The broker.
    Broker,
    /// The trust operator.
    TrustOperator,
}

/// A set of parties.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Parties(u8);

impl Parties {
    /// Nobody.
    pub const NONE: Self = Self(0);
    /// All three.
    pub const ALL: Self = Self(7);

    /// These parties.
    #[must_use]
    pub const fn of(parties: &[Party]) -> Self {
        let (mut bits, mut at) = (0, 0);
        while let Some((party, _)) = split(parties, at) {
            bits |= 1 << party as u8;
            at += 1;
        }
        Self(bits)
    }

    /// Whether a party is among them.
    #[must_use]
    pub const fn has(self, party: Party) -> bool {
        self.0 >> party as u8 & 1 == 1
    }

    /// Adds one, or takes it out.
    pub(crate) const fn set(&mut self, party: Party, is_in: bool) {
        self.0 = self.0 & !(1 << party as u8) | (is_in as u8) << party as u8;
    }

    /// Whether nobody is.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

const fn split(parties: &[Party], at: usize) -> Option<(Party, ())> {
    let (_, rest) = match parties.split_at_checked(at) {
        Some(halves) => halves,
        None => return None,
    };
    match rest.first() {
        Some(party) => Some((*party, ())),
        None => None,
    }
}
