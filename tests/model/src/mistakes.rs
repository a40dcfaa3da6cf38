//! What each guard is for: the run that breaks without it.
//!
//! Decides where a seeded mistake is looked for, so that it is found within seconds. Never decides that it
//! is found: the search does.

use crate::{
    config::Config,
    founding::Founding,
    guard::Guard,
    party::{
        Parties,
        Party::{self, Broker, Device, TrustOperator},
    },
    runs::{DESK, RESTORED_DESK, Run, SMALL, WORDS, bounds, cheating, restored},
    signing::Signing,
};

/// What shows that a guard is needed.
#[derive(Clone, Copy, Debug)]
pub enum Shown {
    /// Without it this run breaks a property.
    By(Run),
    /// Nothing breaks without it, and this is why it is kept.
    Redundant(&'static str),
}

const fn by(config: Config) -> Shown {
    Shown::By(Run::Agreement(config))
}

const fn by_signature(cheats: &[Party]) -> Shown {
    let cheats = Parties::of(cheats);
    Shown::By(Run::Signing("one signature", Signing { cheats, off: None }))
}

/// What shows that this guard is needed, chosen so that it is found within seconds.
#[must_use]
pub fn shown(guard: Guard) -> Shown {
    use Guard as G;
    const BT: Config = cheating(
        "broker and trust operator cheat",
        &[Broker, TrustOperator],
        2,
        1,
    );
    const DB: Config = cheating("device and broker cheat", &[Device, Broker], 2, 1);
    const DT: Config = cheating(
        "device and trust operator cheat",
        &[Device, TrustOperator],
        2,
        1,
    );
    const B: Config = cheating("broker cheats", &[Broker], 1, 1);
    const D: Config = cheating("device cheats", &[Device], 1, 1);
    const STRANGER: Config = Config {
        stranger: true,
        ends: true,
        ..bounds("a stranger's login", 1, 1)
    };
    const RESTORED_BROKER: Config = restored("broker restored", &[Broker], 2, 1);
    const RESTORED_DEVICE: Config = restored("device restored", &[Device], 2, 1);
    const RESTORED_TRUST_OPERATOR: Config =
        restored("trust operator restored", &[TrustOperator], 2, 1);
    match guard {
        G::SharesBeforeSignatures | G::DeadIsDurable | G::OnlyDeadDeletes => {
            Shown::By(Run::Founding(Founding { off: None }))
        }
        G::GenesisOnlyBeforeDeadline => Shown::Redundant(
            "until *dead* is durable everybody waits, so a genesis that is sealed late harms nobody; it is \
             kept so that an enrolment ends when its ticket said",
        ),
        G::DeviceOneAdmitPerHeight
        | G::AssentOnlyWhatStatusAllows
        | G::AssentOnlyBeforeExp
        | G::AssentNothingDatedAhead
        | G::ServiceOnlyBeforeExp
        | G::ServiceChecksChallenge => by(BT),
        G::SealOnlyWhatStatusAllows
        | G::SealNothingDatedAhead
        | G::SealExpireOnlyAfterGrace
        | G::SealDenyOnlyWithWord => by(DB),
        G::BrokerOneAdmitPerHeight | G::EndorseOnlyWhatStatusAllows | G::EndorseNothingDenied => {
            by(DT)
        }
        G::SealOnlyWithAssent | G::ServiceVerifies => by(B),
        G::SealNothingDenied => by(D),
        G::AssentOnlyOnHead | G::FreezeStaysWanted | G::OnlyUnfreezeLifts => by(DESK),
        G::LockOnlyAfterMatch | G::MatchOnlyTheNumber | G::OneTry => by(STRANGER),
        G::OvertakenFreezeIsRenewed => by(WORDS),
        G::OnlyItsOwnFreezeAnswers | G::EarlierFreezeAnswersNothing => by(RESTORED_DESK),
        G::BuiltUponShowsACopy => by(RESTORED_BROKER),
        G::BrokerHeadsFirst | G::RestoredBrokerStops | G::RestoredBrokerWaits => {
            by(RESTORED_BROKER)
        }
        G::RestoredDeviceStops | G::RestoredDeviceIsHeard => by(RESTORED_DEVICE),
        G::SessionKillsInput | G::ShowOnlyAcknowledged => by(RESTORED_TRUST_OPERATOR),
        G::DeviceNonceOnce | G::NoncesInRamOnly => by_signature(&[Broker]),
        G::BrokerNonceOnce => by_signature(&[TrustOperator]),
        G::CommitmentIsSigned | G::FaultIsChecked => by_signature(&[TrustOperator]),
        G::SignersAreTheThree => by_signature(&[Broker]),
        G::ShareOnlyInsideSignature | G::ForwardOnlySigned => by_signature(&[Device]),
        G::SharesAreSigned => by_signature(&[Broker]),
        G::TrustOperatorNonceOnce => Shown::Redundant(
            "a share of a failed try never leaves (the next guard), so a second try with the same nonce shows \
             nothing; it is kept because the type that takes the nonce by move costs nothing",
        ),
        G::AdmittedNotAfterRestrict => Shown::Redundant(
            "whatever lets a broker supersede its lock (a freeze that is wanted, a word, `exp` passed, being \
             restored) stops \"admitted\" by itself; it is kept because a clock may step back",
        ),
        G::TrustOperatorHeadsFirst => Shown::Redundant(
            "an honest broker's new session carries only what builds on its own head, which a trust operator \
             that is behind refuses; it is kept so that it catches up before it is asked",
        ),
        G::OldWordsDontCount => Shown::Redundant(
            "a device that said freeze assents to no unfreeze before it holds the freeze, which answers the \
             word; it is kept against words that a restored device forgot",
        ),
        _ => by(SMALL),
    }
}
