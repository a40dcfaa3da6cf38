//! The rules as named guards, so that each can be left out to see what it is for.
//!
//! Decides which clauses of docs/protocol.md the model keeps, and by which rule. A guard that is off
//! is a seeded mistake: some configuration must then break a property. Never decides what a guard
//! does: that stands where the party acts.

macro_rules! guards {
    ($($(#[doc = $text:literal])+ $name:ident = $rule:literal,)+) => {
        /// One clause of a rule.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Guard {
            $($(#[doc = $text])+ $name,)+
        }

        impl Guard {
            /// Every guard, in the order of the rules.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// Its rule's number in docs/protocol.md; 0 for the section on the genesis.
            #[must_use]
            pub const fn rule(self) -> u8 {
                match self { $(Self::$name => $rule,)+ }
            }

            /// What it says.
            #[must_use]
            pub fn text(self) -> &'static str {
                match self { $(Self::$name => concat!($($text),+).trim_ascii(),)+ }
            }
        }
    };
}

guards! {
    /// A share is durable before a genesis signature rests on it.
    SharesBeforeSignatures = 0,
    /// The trust operator seals no genesis past the deadline.
    GenesisOnlyBeforeDeadline = 0,
    /// That a genesis is dead is durable before it is said.
    DeadIsDurable = 0,
    /// Only the trust operator's *dead* lets a party delete its share.
    OnlyDeadDeletes = 0,
    /// A device locked at a height assents to nothing else there.
    DeviceOneAdmitPerHeight = 1,
    /// A broker locked at a height endorses nothing else there.
    BrokerOneAdmitPerHeight = 1,
    /// A broker that signed a restrict block signs no other one at that height.
    BrokerOneRestrictPerHeight = 1,
    /// A broker that signed a restrict block signs no admit at that height any more.
    BrokerNoAdmitAfterRestrict = 1,
    /// The device's lock is durable before its signature leaves.
    DeviceLockIsDurable = 1,
    /// The broker's lock is durable before its signature leaves.
    BrokerLockIsDurable = 1,
    /// The broker's restrict signature is durable before it leaves.
    BrokerRestrictIsDurable = 1,
    /// The device assents only to a block on its head.
    AssentOnlyOnHead = 2,
    /// The broker proposes and endorses only a block on its head.
    EndorseOnlyOnHead = 2,
    /// The trust operator seals only a block on its head.
    SealOnlyOnHead = 2,
    /// The device assents only to a kind that the account's status allows.
    AssentOnlyWhatStatusAllows = 2,
    /// The broker endorses only a kind that the account's status allows.
    EndorseOnlyWhatStatusAllows = 2,
    /// The trust operator seals only a kind that the account's status allows.
    SealOnlyWhatStatusAllows = 2,
    /// Nothing but an unfreeze lifts a freeze.
    OnlyUnfreezeLifts = 2,
    /// Keys and signatures are made by the signers 1, 2 and 3 only.
    SignersAreTheThree = 2,
    /// The device assents only before `exp` by its own clock.
    AssentOnlyBeforeExp = 2,
    /// The broker endorses only before `exp` by its own clock.
    EndorseOnlyBeforeExp = 2,
    /// The trust operator seals an admit only before `exp` by its own clock.
    SealOnlyBeforeExp = 2,
    /// The device assents to nothing dated ahead.
    AssentNothingDatedAhead = 2,
    /// The trust operator seals nothing dated ahead.
    SealNothingDatedAhead = 2,
    /// The trust operator seals an admit only with the device's assent and share.
    SealOnlyWithAssent = 3,
    /// The trust operator seals only what the broker signed first.
    SealOnlyWhatBrokerSigned = 3,
    /// The trust operator answers only when the sealed block is durable.
    SealIsDurable = 3,
    /// The claim `supersedes` names what the broker had locked.
    RestrictNamesTheLock = 4,
    /// The broker lets a lock expire only when the proposal is dead on every clock.
    ExpireOnlyAfterGrace = 4,
    /// The trust operator lets an `expire` supersede only when the proposal is dead on every clock.
    SealExpireOnlyAfterGrace = 4,
    /// The trust operator seals a `deny` only with the device's word about that very proposal.
    SealDenyOnlyWithWord = 4,
    /// The broker adopts the block that was sealed instead of its restrict block.
    AdoptWhatWasSealed = 4,
    /// A freeze that a sealed block displaced stays wanted.
    FreezeStaysWanted = 4,
    /// While a freeze is wanted the broker signs no admit.
    NothingBeforeTheFreeze = 4,
    /// A block releases the device's lock, whether it names it or not.
    AnyBlockReleases = 5,
    /// Nothing but a sealed block releases the device's lock.
    OnlyABlockReleases = 5,
    /// The broker completes only bytes that it holds as its own proposal or lock.
    CompleteOnlyOwn = 5,
    /// Bytes that only the device locked get an `expire`.
    ExpireForeignLocks = 5,
    /// The broker says "admitted" only when the block is durable at home.
    AdmittedIsDurable = 6,
    /// The broker says "admitted" only before `exp`.
    AdmittedOnlyBeforeExp = 6,
    /// The broker never says "admitted" after it signed a superseding restrict block.
    AdmittedNotAfterRestrict = 6,
    /// The broker never says "admitted" after a freeze, or a deny of that block, reached it.
    AdmittedNotAfterWord = 6,
    /// An end that the broker told stays told, through a crash too.
    ToldOnce = 6,
    /// Cancel after the broker's lock is too late.
    CancelOnlyBeforeLock = 6,
    /// The login service admits only what its broker says too.
    ServiceAsksItsBroker = 6,
    /// The login service's SDK verifies the block itself.
    ServiceVerifies = 6,
    /// The login service's SDK takes no expired block.
    ServiceOnlyBeforeExp = 6,
    /// The login service's SDK takes only a block with its own session's challenge.
    ServiceChecksChallenge = 6,
    /// The device uses a nonce for one package.
    DeviceNonceOnce = 7,
    /// The broker uses a nonce for one package.
    BrokerNonceOnce = 7,
    /// The trust operator uses a nonce for one try.
    TrustOperatorNonceOnce = 7,
    /// Nonces live in RAM only.
    NoncesInRamOnly = 7,
    /// The trust operator's share leaves only inside a signature that verified.
    ShareOnlyInsideSignature = 7,
    /// The broker signs nothing in a session before heads were compared.
    BrokerHeadsFirst = 8,
    /// The trust operator signs nothing in a session before heads were compared.
    TrustOperatorHeadsFirst = 8,
    /// A new session kills the old one's unread input.
    SessionKillsInput = 8,
    /// The trust operator gives a sealed block to a device only after the broker acknowledged it.
    ShowOnlyAcknowledged = 8,
    /// A broker that finds a block that it doesn't know is restored, and signs only a `restored` block.
    RestoredBrokerStops = 8,
    /// A broker whose lock was sealed and built upon is restored.
    BuiltUponShowsACopy = 8,
    /// A restored broker waits until all that it may have forgotten is dead.
    RestoredBrokerWaits = 8,
    /// A device that finds an admit that it holds no lock for is restored, and signs nothing.
    RestoredDeviceStops = 8,
    /// A restored device asks for a `restored` block and gets it.
    RestoredDeviceIsHeard = 8,
    /// The trust operator's commitment is signed by it (vote 7).
    CommitmentIsSigned = 9,
    /// A share counts only against the package that its sender signed with it (vote 8).
    SharesAreSigned = 9,
    /// A broker forwards only what carries its owner's vote.
    ForwardOnlySigned = 9,
    /// A broker checks a fault itself before it repeats it.
    FaultIsChecked = 9,
    /// The device locks only after the broker's match.
    LockOnlyAfterMatch = 10,
    /// The broker matches only the page's number.
    MatchOnlyTheNumber = 10,
    /// One try at the number.
    OneTry = 10,
    /// The device never assents to what it denied.
    AssentNothingDenied = 10,
    /// The device assents to nothing after its freeze, until it holds it.
    AssentNothingAfterFreeze = 10,
    /// The broker endorses nothing that the device denied.
    EndorseNothingDenied = 10,
    /// The trust operator seals nothing that the device denied.
    SealNothingDenied = 10,
    /// The trust operator seals no admit after a freeze or disown reached it.
    SealNothingAfterFreeze = 10,
    /// The device keeps its word durably.
    DeviceWordIsDurable = 10,
    /// An operator keeps the device's word durably.
    OperatorWordIsDurable = 10,
    /// An operator forwards the device's word to the other.
    WordsAreForwarded = 10,
    /// The broker proposes the freeze next.
    FreezeIsProposed = 10,
    /// Only a freeze that the broker signed for it answers a wish to freeze.
    OnlyItsOwnFreezeAnswers = 10,
    /// A freeze that the broker signed before a wish answers it only on the true head.
    EarlierFreezeAnswersNothing = 10,
    /// A freeze or disown counts only about a block at or after the last unfreeze.
    OldWordsDontCount = 10,
    /// A device whose freeze an unfreeze overtook says it again.
    OvertakenFreezeIsRenewed = 10,
}
