//! Blocks as symbols: a block is its whole chain, packed into one number.
//!
//! Decides what a block is in the model: kind, which of two rival logins, when it was made, what it
//! supersedes. Two blocks are the same bytes exactly when they are the same number, and a block names
//! its `prev` by containing it, as a hash does. Never holds signatures: who signed is in the state.

use core::{fmt, num::NonZeroU128};

/// Bits of one block within its chain.
const LANE_BITS: u32 = 14;
/// The tallest chain that fits.
pub const MAX_HEIGHT: u8 = 9;
const SENTINEL: u128 = 1 << 127;
const LANE_MASK: u128 = (1 << LANE_BITS) - 1;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Admit: a login (`approve` and `change` have the same rules).
    Login = 1,
    /// Admit: the account is active again.
    Unfreeze = 2,
    /// Restrict: the device refused a proposal.
    Deny = 3,
    /// Restrict: a wrong number was typed.
    Refuse = 4,
    /// Restrict: a proposal ran out of time.
    Expire = 5,
    /// Restrict: a party had come back from an older copy.
    Restored = 6,
    /// Restrict: the account is frozen.
    Freeze = 7,
    /// Restrict: the account's only device is gone for good.
    Revoke = 8,
    /// A block that every honest party is past and that left no mark on the account's status.
    Past = 9,
}

impl Kind {
    /// Whether all three parties must sign it.
    #[must_use]
    pub const fn is_admit(self) -> bool {
        matches!(self, Self::Login | Self::Unfreeze)
    }

    const fn of(bits: u16) -> Self {
        match bits {
            1 => Self::Login,
            2 => Self::Unfreeze,
            3 => Self::Deny,
            4 => Self::Refuse,
            5 => Self::Expire,
            6 => Self::Restored,
            7 => Self::Freeze,
            8 => Self::Revoke,
            _ => Self::Past,
        }
    }
}

/// An account's status: a fold over its chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Logins are admitted.
    Active,
    /// Nothing is admitted but an unfreeze.
    Frozen,
    /// Nothing is admitted for ever.
    Revoked,
}

impl Status {
    /// Whether a block of this kind may follow.
    #[must_use]
    pub const fn allows(self, kind: Kind) -> bool {
        match kind {
            Kind::Login => matches!(self, Self::Active),
            Kind::Unfreeze => matches!(self, Self::Frozen),
            Kind::Freeze | Kind::Revoke => !matches!(self, Self::Revoked),
            _ => true,
        }
    }

    /// The status after a block of this kind.
    #[must_use]
    pub const fn after(self, kind: Kind) -> Self {
        match (self, kind) {
            (Self::Revoked, _) | (_, Kind::Revoke) => Self::Revoked,
            (_, Kind::Freeze) => Self::Frozen,
            (_, Kind::Unfreeze) => Self::Active,
            (status, _) => status,
        }
    }
}

/// One block's own claims, without `prev`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claims {
    /// What happened.
    pub kind: Kind,
    /// Whose login page began it: the customer's own, or a stranger's.
    pub stranger: bool,
    /// The tick in which it was made, 0…7: an admit block expires with the next one.
    pub time: u8,
    /// Restrict: the proposal that it is about, at its own height.
    pub about: Option<About>,
    /// Restrict: whether the claim `supersedes` names that proposal.
    pub supersedes: bool,
}

/// A proposal at the same height and `prev`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct About {
    /// An unfreeze, else a login.
    pub unfreeze: bool,
    /// [`Claims::stranger`].
    pub stranger: bool,
    /// [`Claims::time`].
    pub time: u8,
}

impl Claims {
    /// An admit block's claims.
    #[must_use]
    pub const fn admit(kind: Kind, stranger: bool, time: u8) -> Self {
        Self {
            kind,
            stranger,
            time,
            about: None,
            supersedes: false,
        }
    }

    /// A restrict block's claims, about a proposal or none.
    #[must_use]
    pub fn restrict(kind: Kind, time: u8, about: Option<Block>, supersedes: bool) -> Self {
        let about = about.and_then(Block::claims).map(|c| About {
            unfreeze: c.kind == Kind::Unfreeze,
            stranger: c.stranger,
            time: c.time,
        });
        Self {
            kind,
            stranger: false,
            time,
            supersedes: supersedes && about.is_some(),
            about,
        }
    }

    fn bits(self) -> u128 {
        let mut bits = self.kind as u16 | u16::from(self.stranger) << 4;
        bits |= u16::from(self.time & 7) << 5;
        if let Some(about) = self.about {
            bits |= u16::from(about.unfreeze) << 8 | u16::from(about.stranger) << 9;
            // One more, so that zero is "about none".
            bits |= u16::from((about.time + 1) & 7) << 10;
        }
        u128::from(bits | u16::from(self.supersedes) << 13)
    }

    fn of(lane: u128) -> Self {
        let bit = |at: u32| lane >> at & 1 == 1;
        let three = |at: u32| u8::try_from(lane >> at & 7).unwrap_or(0);
        let about = (three(10) > 0).then(|| About {
            unfreeze: bit(8),
            stranger: bit(9),
            time: three(10) - 1,
        });
        Self {
            kind: Kind::of(u16::try_from(lane & 15).unwrap_or(0)),
            stranger: bit(4),
            time: three(5),
            about,
            supersedes: bit(13),
        }
    }
}

/// A block together with every block below it. The genesis is the empty chain.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Block(NonZeroU128);

impl Block {
    /// Height 0.
    pub const GENESIS: Self = Self(match NonZeroU128::new(SENTINEL) {
        Some(bits) => bits,
        None => NonZeroU128::MIN,
    });

    const fn low(self) -> u128 {
        self.0.get() & !SENTINEL
    }

    const fn of_low(low: u128) -> Self {
        match NonZeroU128::new(low | SENTINEL) {
            Some(bits) => Self(bits),
            None => Self::GENESIS,
        }
    }

    /// Distance from the genesis.
    #[must_use]
    pub const fn height(self) -> u8 {
        let used = 128 - self.low().leading_zeros();
        used.div_ceil(LANE_BITS) as u8
    }

    /// The block of this chain at a height not above its own.
    #[must_use]
    pub const fn at(self, height: u8) -> Self {
        Self::of_low(self.low() & ((1 << (LANE_BITS * height as u32)) - 1))
    }

    /// The block before; the genesis is its own.
    #[must_use]
    pub const fn prev(self) -> Self {
        self.at(self.height().saturating_sub(1))
    }

    /// The next block with these claims; none at [`MAX_HEIGHT`].
    #[must_use]
    pub fn next(self, claims: Claims) -> Option<Self> {
        let height = self.height();
        (height < MAX_HEIGHT)
            .then(|| Self::of_low(self.low() | claims.bits() << (LANE_BITS * u32::from(height))))
    }

    /// Its claims; none for the genesis.
    #[must_use]
    pub fn claims(self) -> Option<Claims> {
        let below = self.height().checked_sub(1)?;
        Some(Claims::of(
            self.low() >> (LANE_BITS * u32::from(below)) & LANE_MASK,
        ))
    }

    /// Its kind; a genesis counts as past.
    #[must_use]
    pub fn kind(self) -> Kind {
        self.claims().map_or(Kind::Past, |c| c.kind)
    }

    /// The tick in which it was made.
    #[must_use]
    pub fn time(self) -> u8 {
        self.claims().map_or(0, |c| c.time)
    }

    /// Whether all three must sign it.
    #[must_use]
    pub fn is_admit(self) -> bool {
        self.kind().is_admit()
    }

    /// Whether it is `other` or stands above it in one chain.
    #[must_use]
    pub fn holds(self, other: Self) -> bool {
        self.height() >= other.height() && self.at(other.height()) == other
    }

    /// The next block from here towards `top`, if `top` stands above this one.
    #[must_use]
    pub fn towards(self, top: Self) -> Option<Self> {
        (top.height() > self.height() && top.holds(self)).then(|| top.at(self.height() + 1))
    }

    /// The proposal that a restrict block is about.
    #[must_use]
    pub fn about(self) -> Option<Self> {
        let about = self.claims()?.about?;
        let kind = if about.unfreeze {
            Kind::Unfreeze
        } else {
            Kind::Login
        };
        self.prev()
            .next(Claims::admit(kind, about.stranger, about.time))
    }

    /// The proposal that its claim `supersedes` names.
    #[must_use]
    pub fn superseded(self) -> Option<Self> {
        self.about()
            .filter(|_| self.claims().is_some_and(|c| c.supersedes))
    }

    /// The account's status after it.
    #[must_use]
    pub fn status(self) -> Status {
        let mut status = Status::Active;
        for height in 1..=self.height() {
            status = status.after(self.at(height).kind());
        }
        status
    }

    /// Height of the last block of a kind; 0 if there is none.
    #[must_use]
    pub fn last(self, kind: Kind) -> u8 {
        let mut heights = (1..=self.height()).rev();
        heights.find(|&h| self.at(h).kind() == kind).unwrap_or(0)
    }

    /// This chain with the blocks up to `common`'s height replaced by what they mean for the status,
    /// if it shares them with `common`.
    #[must_use]
    pub(crate) fn forget(self, common: Self) -> Self {
        if !self.holds(common) {
            return self;
        }
        let mut low = self.low();
        for height in 0..u32::from(common.height()) {
            let shift = LANE_BITS * height;
            let kind = Claims::of(low >> shift & LANE_MASK).kind;
            let kept = match kind {
                Kind::Freeze | Kind::Unfreeze | Kind::Revoke => kind,
                _ => Kind::Past,
            };
            low &= !(LANE_MASK << shift);
            low |= Claims::admit(kept, false, 0).bits() << shift;
        }
        Self::of_low(low)
    }
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0")?;
        for height in 1..=self.height() {
            let Some(c) = self.at(height).claims() else {
                continue;
            };
            write!(f, "·{:?}", c.kind)?;
            if c.kind == Kind::Past {
                continue;
            }
            write!(f, "{}@{}", if c.stranger { "?" } else { "" }, c.time)?;
            if let Some(a) = c.about {
                let (word, kind) = (
                    if c.supersedes { "over" } else { "of" },
                    if a.unfreeze { "Unfreeze" } else { "Login" },
                );
                let stranger = if a.stranger { "?" } else { "" };
                write!(f, "({word} {kind}{stranger}@{})", a.time)?;
            }
        }
        Ok(())
    }
}
