//! One party's place in one account: what it keeps durably, and the real machine in RAM.

use std::sync::Arc;

use warifu_consensus::{
    agree::{Base, Broker, Device, Input, Output, Record, TrustOperator, TrustOperatorOptions},
    block::Sealed,
    body::ContentKey,
    chain::Head,
    enrol::Enrolment,
    party::Role,
    random::Entropy,
    share::KeyShare,
    signature::IdentityKey,
    time::Time,
};

/// The real state machine of a party.
pub enum Machine {
    /// A device's.
    Device(Box<Device>),
    /// A broker's.
    Broker(Box<Broker>),
    /// A trust operator's.
    TrustOperator(Box<TrustOperator>),
}

impl Machine {
    /// Moves the machine.
    pub fn handle<E: Entropy>(&mut self, now: Time, input: Input, entropy: &mut E) -> Vec<Output> {
        match self {
            Self::Device(m) => m.handle(now, input, entropy),
            Self::Broker(m) => m.handle(now, input, entropy),
            Self::TrustOperator(m) => m.handle(now, input, entropy),
        }
    }

    /// When it wants to be called next.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        match self {
            Self::Device(m) => m.deadline(),
            Self::Broker(m) => m.deadline(),
            Self::TrustOperator(m) => m.deadline(),
        }
    }

    /// Whether a node may drop it from RAM. A device keeps its accounts at hand.
    #[must_use]
    pub fn is_idle(&self, now: Time) -> bool {
        match self {
            Self::Device(_) => false,
            Self::Broker(m) => m.is_idle(now),
            Self::TrustOperator(m) => m.is_idle(now),
        }
    }

    /// Tells the height of one block of this chain.
    pub fn locate(&mut self, block: Head) {
        match self {
            Self::Device(m) => m.locate(block),
            Self::Broker(m) => m.locate(block),
            Self::TrustOperator(m) => m.locate(block),
        }
    }

    /// Whether two machines of one party have the same records behind them.
    #[must_use]
    pub fn stands_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Device(a), Self::Device(b)) => a.stands_as(b),
            (Self::Broker(a), Self::Broker(b)) => a.stands_as(b),
            (Self::TrustOperator(a), Self::TrustOperator(b)) => a.stands_as(b),
            _ => false,
        }
    }

    /// What the account stands on.
    #[must_use]
    pub fn base(&self) -> &Base {
        match self {
            Self::Device(m) => m.base(),
            Self::Broker(m) => m.base(),
            Self::TrustOperator(m) => m.base(),
        }
    }
}

/// A party's place in one account.
pub struct Seat {
    /// Which party.
    pub role: Role,
    /// Its identity key.
    pub key: Arc<IdentityKey>,
    /// The vault: its key share, encoded.
    pub share: Option<Vec<u8>>,
    /// The vault: the content key; never at a trust operator.
    pub content_key: Option<[u8; 32]>,
    /// The journal, as it was written or read back.
    pub records: Vec<Record>,
    /// RAM: the machine.
    pub machine: Option<Machine>,
    /// RAM: an enrolment session.
    pub enrolment: Option<Enrolment>,
    /// Durable: this account's enrolment session was used here.
    pub consumed: bool,
    /// The next scheduled tick in true milliseconds.
    pub tick_at: Option<u64>,
}

impl Seat {
    /// An empty place.
    #[must_use]
    pub fn new(role: Role, key: Arc<IdentityKey>) -> Self {
        Self {
            role,
            key,
            share: None,
            content_key: None,
            records: Vec::new(),
            machine: None,
            enrolment: None,
            consumed: false,
            tick_at: None,
        }
    }

    /// The copy of the share that a machine takes.
    #[must_use]
    pub fn key_share(&self) -> Option<KeyShare> {
        self.share
            .as_ref()
            .map(|bytes| KeyShare::decode(bytes).expect("a share that was encoded here"))
    }

    /// Starts the machine from the journal, as after any start.
    pub fn recover(&mut self, options: TrustOperatorOptions) -> Result<(), String> {
        self.tick_at = None;
        self.enrolment = None;
        self.machine = None;
        if self.records.is_empty() {
            // Nothing was founded: a share without a founding is deleted.
            self.share = None;
            return Ok(());
        }
        // As a node does: from the last checkpoint.
        let is_checkpoint = |r: &Record| matches!(r, Record::Checkpoint(_));
        let last = self.records.iter().rposition(is_checkpoint).unwrap_or(0);
        let machine = self.machine_from(self.records[last..].to_vec(), options)?;
        // Its fold must be the whole journal's; looked at every other time, for speed.
        if last > 0 && self.records.len().is_multiple_of(2) {
            let full = self.machine_from(self.records.clone(), options)?;
            assert!(
                machine.stands_as(&full),
                "a checkpoint of the {} left something out",
                self.role
            );
            assert_eq!(machine.deadline(), full.deadline());
        }
        self.machine = Some(machine);
        Ok(())
    }

    fn machine_from(
        &self,
        records: Vec<Record>,
        options: TrustOperatorOptions,
    ) -> Result<Machine, String> {
        let (key, share) = (self.key.clone(), self.key_share());
        let content_key = self.content_key.map(ContentKey::from_bytes);
        Ok(match self.role {
            Role::Device => {
                let content_key = content_key.ok_or("device without content key")?;
                Machine::Device(Box::new(Device::recover(records, key, share, content_key)?))
            }
            Role::Broker => {
                Machine::Broker(Box::new(Broker::recover(records, key, share, content_key)?))
            }
            Role::TrustOperator => Machine::TrustOperator(Box::new(TrustOperator::recover(
                records, key, share, options,
            )?)),
        })
    }

    /// The sealed blocks of the journal, in order.
    pub fn chain(&self) -> impl Iterator<Item = &Sealed> {
        self.records.iter().filter_map(|r| match r {
            Record::Sealed(sealed) => Some(&**sealed),
            _ => None,
        })
    }
}

/// A role's place in arrays of three.
#[must_use]
pub fn at(role: Role) -> usize {
    usize::from(role.number()) - 1
}
