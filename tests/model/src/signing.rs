//! One signature: nonces, packages, shares, and who is blamed (rules 7 and 9).
//!
//! Decides what the larger model leaves out: there a signature is one fact, here it is three shares over
//! one package of commitments. One block, which all honest parties agreed to sign; what may go wrong is a
//! nonce that is used twice, a share that leaves too early, and a fault that is laid on the honest.

use stateright::{Model, Property};

use crate::{
    guard::Guard,
    party::{Parties, Party},
};

/// Nonces that a party makes in a run, and so packages: one of each party's.
const NONCES: u8 = 2;

/// Three commitments, by the number of each party's nonce, in role order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Package {
    device: u8,
    broker: u8,
    trust_operator: u8,
}

impl Package {
    const fn bit(self) -> u8 {
        1 << (self.device << 2 | self.broker << 1 | self.trust_operator)
    }

    fn all() -> impl Iterator<Item = Self> {
        (0..8u8).map(|n| Self {
            device: n >> 2 & 1,
            broker: n >> 1 & 1,
            trust_operator: n & 1,
        })
    }

    /// Whether two packages, as bits, hold one of a party's nonces twice.
    fn reuses(bits: u8, nonce_of: impl Fn(Self) -> u8) -> bool {
        let used = |nonce| {
            Self::all()
                .filter(|p| bits & p.bit() != 0 && nonce_of(*p) == nonce)
                .count()
        };
        (0..NONCES).any(|nonce| used(nonce) > 1)
    }
}

/// A run about one signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signing {
    /// Who cheats.
    pub cheats: Parties,
    /// The seeded mistake.
    pub off: Option<Guard>,
}

/// One moment. Sets of packages are bytes, one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Moment {
    /// Nonces that each party made so far.
    made: [u8; 3],
    /// The device's cached answer.
    answered: Option<Package>,
    /// Packages that the device's shares are for: good ones, and bad ones of a cheating device.
    device_shares: u8,
    bad_shares: u8,
    /// The broker's open nonce, and the trust operator's commitment beside it.
    broker_open: Option<(u8, u8)>,
    /// Packages that the broker's shares are for.
    broker_shares: u8,
    /// Packages that the broker endorsed, with a good share of the device's, or with a bad one.
    endorsed: u8,
    endorsed_bad: u8,
    /// Packages that the broker forwarded although the device never signed them.
    forwarded_unsigned: u8,
    /// The trust operator's open nonce.
    trust_operator_open: Option<u8>,
    /// Packages that the trust operator's share left for.
    trust_operator_shares: u8,
    /// Somebody signed with a fourth number in an honest party's place.
    signed_beside: bool,
    sealed: bool,
    blamed_device: bool,
    blamed_broker: bool,
}

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A party loses its RAM.
    Crash(Party),
    /// The trust operator makes a nonce and sends its commitment.
    Commit,
    /// The broker makes a nonce beside the trust operator's commitment of this number.
    Propose(u8),
    /// The device answers the broker's and the trust operator's commitments with a share.
    Answer(u8, u8),
    /// A cheating device answers with a share that fails, or with nothing that it signed.
    AnswerBadly(Package),
    /// The broker adds its share to the device's, good or bad.
    Endorse(Package, bool),
    /// The broker forwards what the device never signed.
    ForwardUnsigned(Package),
    /// A cheating broker pairs the device's share for one package with another package.
    SealMixed(Package, Package),
    /// The trust operator completes.
    Seal(Package),
    /// The trust operator finds that the device's share fails.
    Blame(Package),
    /// A cheating trust operator says that the device's share failed.
    Accuse(Package),
    /// A cheating trust operator says that it never made the commitment that the broker forwarded.
    Repudiate(Package),
    /// An honest party signs for the signers {1, 2, 77}: a cheating one holds a share of that number too.
    SignBeside(Party),
}

impl Signing {
    fn keeps(&self, guard: Guard) -> bool {
        self.off != Some(guard)
    }

    fn is_honest(&self, party: Party) -> bool {
        !self.cheats.has(party)
    }

    fn fresh(made: &mut u8) -> Option<u8> {
        let nonce = (*made < NONCES).then_some(*made)?;
        *made += 1;
        Some(nonce)
    }

    fn crash(&self, s: &mut Moment, party: Party) {
        match party {
            Party::Device => s.answered = None,
            Party::Broker => s.broker_open = None,
            Party::TrustOperator => s.trust_operator_open = None,
        }
        if !self.keeps(Guard::NoncesInRamOnly) {
            // What was kept before its use comes back as unused.
            let made = match party {
                Party::Device => &mut s.made[0],
                Party::Broker => &mut s.made[1],
                Party::TrustOperator => &mut s.made[2],
            };
            *made = made.saturating_sub(1);
        }
    }

    fn answer(&self, s: &mut Moment, broker: u8, trust_operator: u8) -> bool {
        let same = |p: Package| p.broker == broker && p.trust_operator == trust_operator;
        if s.answered.is_some_and(same) {
            return false;
        }
        let again = s.answered.filter(|_| !self.keeps(Guard::DeviceNonceOnce));
        let nonce = match again {
            Some(package) => Some(package.device),
            None => Self::fresh(&mut s.made[0]),
        };
        let Some(device) = nonce else { return false };
        let package = Package {
            device,
            broker,
            trust_operator,
        };
        s.answered = Some(package);
        s.device_shares |= package.bit();
        true
    }

    fn endorse(&self, s: &mut Moment, package: Package, good: bool) -> bool {
        let shares = match good {
            true if self.is_honest(Party::Device) => s.device_shares,
            true => u8::MAX,
            false => s.bad_shares,
        };
        let open = Some((package.broker, package.trust_operator));
        if shares & package.bit() == 0 || s.broker_open != open {
            return false;
        }
        if self.keeps(Guard::BrokerNonceOnce) {
            s.broker_open = None;
        }
        s.broker_shares |= package.bit();
        if good {
            s.endorsed |= package.bit();
        } else {
            s.endorsed_bad |= package.bit();
        }
        true
    }

    /// The nonce is used up, whatever comes of it.
    fn takes(&self, s: &mut Moment, package: Package) -> bool {
        let open = s.trust_operator_open == Some(package.trust_operator) && !s.sealed;
        if open && self.keeps(Guard::TrustOperatorNonceOnce) {
            s.trust_operator_open = None;
        }
        open
    }

    fn fails(&self, s: &mut Moment, package: Package) {
        if !self.keeps(Guard::ShareOnlyInsideSignature) {
            s.trust_operator_shares |= package.bit();
        }
    }

    fn act(&self, s: &mut Moment, step: Step) -> bool {
        match step {
            Step::Crash(party) => self.crash(s, party),
            Step::Commit => {
                s.trust_operator_open = Self::fresh(&mut s.made[2]);
                return s.trust_operator_open.is_some();
            }
            Step::Propose(theirs) => {
                let nonce = Self::fresh(&mut s.made[1]);
                s.broker_open = nonce.map(|own| (own, theirs));
                return nonce.is_some() && theirs < s.made[2].max(1);
            }
            Step::Answer(broker, trust_operator) => return self.answer(s, broker, trust_operator),
            Step::AnswerBadly(package) => s.bad_shares |= package.bit(),
            Step::Endorse(package, good) => return self.endorse(s, package, good),
            Step::ForwardUnsigned(package) => {
                let open = Some((package.broker, package.trust_operator));
                s.forwarded_unsigned |= package.bit();
                return s.broker_open == open;
            }
            Step::SealMixed(signed, shown) => {
                // The vote on the share names the package that its owner signed.
                let named = self.keeps(Guard::SharesAreSigned) || signed == shown;
                s.blamed_broker |= named;
                s.blamed_device |= !named;
                self.fails(s, shown);
                return self.takes(s, shown);
            }
            Step::Seal(package) => {
                let devices = if self.is_honest(Party::Broker) {
                    s.endorsed
                } else {
                    s.device_shares
                };
                let devices = if self.is_honest(Party::Device) {
                    devices
                } else {
                    u8::MAX
                };
                let brokers = if self.is_honest(Party::Broker) {
                    s.endorsed
                } else {
                    u8::MAX
                };
                if devices & brokers & package.bit() == 0 || !self.takes(s, package) {
                    return false;
                }
                s.sealed = true;
                s.trust_operator_shares |= package.bit();
            }
            Step::Blame(package) => {
                let unsigned = s.forwarded_unsigned & package.bit() != 0;
                let bad = s.endorsed_bad & package.bit() != 0;
                s.blamed_broker |= unsigned;
                s.blamed_device |= bad && !unsigned;
                self.fails(s, package);
                return (bad || unsigned) && self.takes(s, package);
            }
            Step::Accuse(package) => {
                // The broker looks at the share itself before it repeats the accusation.
                s.blamed_device |= !self.keeps(Guard::FaultIsChecked);
                return s.endorsed & package.bit() != 0;
            }
            Step::Repudiate(package) => {
                // The broker shows the vote that came with the commitment.
                s.blamed_broker |= !self.keeps(Guard::CommitmentIsSigned);
                return s.endorsed & package.bit() != 0;
            }
            Step::SignBeside(party) => {
                s.signed_beside = true;
                return self.is_honest(party) && !self.keeps(Guard::SignersAreTheThree);
            }
        }
        true
    }

    fn steps(&self, s: &Moment) -> Vec<Step> {
        let mut steps = Vec::new();
        let [device, broker, trust_operator] =
            [Party::Device, Party::Broker, Party::TrustOperator].map(|p| self.is_honest(p));
        for party in [Party::Device, Party::Broker, Party::TrustOperator] {
            if self.is_honest(party) {
                steps.push(Step::Crash(party));
                if !self.cheats.is_empty() {
                    steps.push(Step::SignBeside(party));
                }
            }
        }
        if trust_operator {
            steps.push(Step::Commit);
            steps.extend(Package::all().map(Step::Seal));
            steps.extend(Package::all().map(Step::Blame));
        }
        if broker {
            let theirs = 0..if trust_operator { s.made[2] } else { NONCES };
            steps.extend(theirs.map(Step::Propose));
            for package in Package::all() {
                steps.extend([Step::Endorse(package, true), Step::Endorse(package, false)]);
                if !device && !self.keeps(Guard::ForwardOnlySigned) {
                    steps.push(Step::ForwardUnsigned(package));
                }
                if !trust_operator && device {
                    steps.push(Step::Accuse(package));
                }
                if !trust_operator {
                    steps.push(Step::Repudiate(package));
                }
            }
        } else if device && trust_operator {
            for signed in Package::all().filter(|p| s.device_shares & p.bit() != 0) {
                let others = Package::all().filter(move |shown| *shown != signed);
                steps.extend(others.map(move |shown| Step::SealMixed(signed, shown)));
            }
        }
        if device {
            // The broker's present or former commitments, or a cheating one's own.
            let brokers = 0..if broker { s.made[1] } else { NONCES };
            let theirs = 0..if trust_operator { s.made[2] } else { NONCES };
            steps.extend(brokers.flat_map(|b| theirs.clone().map(move |t| Step::Answer(b, t))));
        } else {
            steps.extend(Package::all().map(Step::AnswerBadly));
        }
        steps
    }

    /// All that a party's shares are known for, its own part of the packages.
    fn leaks(&self, s: &Moment) -> bool {
        let device = Package::reuses(s.device_shares, |p| p.device);
        let broker = Package::reuses(s.broker_shares, |p| p.broker);
        let trust_operator = Package::reuses(s.trust_operator_shares, |p| p.trust_operator);
        self.is_honest(Party::Device) && device
            || self.is_honest(Party::Broker) && broker
            || self.is_honest(Party::TrustOperator) && trust_operator
    }

    /// Somebody other than the trust operator holds three good shares of one package.
    fn is_completed_outside(&self, s: &Moment) -> bool {
        let device = if self.is_honest(Party::Device) {
            s.device_shares
        } else {
            u8::MAX
        };
        let broker = if self.is_honest(Party::Broker) {
            s.broker_shares
        } else {
            u8::MAX
        };
        device & broker & s.trust_operator_shares != 0 && !s.sealed
    }
}

impl Model for Signing {
    type State = Moment;
    type Action = Step;

    fn init_states(&self) -> Vec<Moment> {
        vec![Moment::default()]
    }

    fn actions(&self, state: &Moment, actions: &mut Vec<Step>) {
        actions.extend(self.steps(state));
    }

    fn next_state(&self, last: &Moment, step: Step) -> Option<Moment> {
        let mut s = *last;
        (self.act(&mut s, step) && s != *last).then_some(s)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut list = vec![
            Property::<Self>::always("no nonce is used for two packages", |m, s| !m.leaks(s)),
            Property::<Self>::always("no signature exists before it is sealed", |m, s| {
                !m.is_honest(Party::TrustOperator) || !m.is_completed_outside(s)
            }),
            Property::<Self>::always("no signature exists without all three", |_, s| {
                !s.signed_beside
            }),
            Property::<Self>::always("no honest device is blamed", |m, s| {
                !m.is_honest(Party::Device) || !s.blamed_device
            }),
            Property::<Self>::always("no honest broker is blamed", |m, s| {
                !m.is_honest(Party::Broker) || !s.blamed_broker
            }),
        ];
        if self.is_honest(Party::TrustOperator) {
            list.push(Property::<Self>::sometimes(
                "a signature is sealed",
                |_, s| s.sealed,
            ));
        }
        if !self.is_honest(Party::Device)
            && self.is_honest(Party::Broker)
            && self.is_honest(Party::TrustOperator)
        {
            list.push(Property::<Self>::sometimes(
                "a bad share is blamed",
                |_, s| s.blamed_device,
            ));
        }
        list
    }
}
