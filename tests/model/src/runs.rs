//! Which runs there are.
//!
//! Decides bounds so that each run ends within a minute on two cores. Never decides what is claimed of a
//! run: that follows from who cheats and who is restored.

use crate::{
    config::Config,
    founding::Founding,
    guard::Guard,
    model::Agreement,
    party::{
        Parties,
        Party::{self, Broker, Device, TrustOperator},
    },
    report::{Report, search, shortest},
    signing::Signing,
};

/// One search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run {
    /// Three parties agreeing on the next blocks.
    Agreement(Config),
    /// One signature, with these cheating.
    Signing(&'static str, Signing),
    /// One enrolment's end.
    Founding(Founding),
}

impl Run {
    /// The same run without one guard.
    #[must_use]
    pub const fn without(self, guard: Guard) -> Self {
        match self {
            Self::Agreement(config) => Self::Agreement(config.without(guard)),
            Self::Signing(name, Signing { cheats, .. }) => {
                let off = Some(guard);
                Self::Signing(name, Signing { cheats, off })
            }
            Self::Founding(_) => Self::Founding(Founding { off: Some(guard) }),
        }
    }

    /// Its name in the table.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Agreement(config) => config.name,
            Self::Signing(name, _) => name,
            Self::Founding(_) => "one founding",
        }
    }

    /// Whether the guard's rule is looked at in this run at all: each model is about some of them.
    #[must_use]
    pub const fn is_about(self, guard: Guard) -> bool {
        match self {
            Self::Founding(_) => guard.rule() == 0,
            Self::Signing(..) => matches!(guard.rule(), 2 | 7 | 9),
            Self::Agreement(_) => !matches!(guard.rule(), 0 | 7 | 9),
        }
    }

    /// [`search`].
    #[must_use]
    pub fn search(self, progress: bool) -> Report {
        match self {
            Self::Agreement(config) => search(config.name, Agreement { config }, progress),
            Self::Signing(name, signing) => search(name, signing, progress),
            Self::Founding(founding) => search(self.name(), founding, progress),
        }
    }

    /// [`search`], and if something is broken, the shortest way there.
    #[must_use]
    pub fn explain(self, progress: bool) -> Report {
        let mut report = self.search(progress);
        if report.broken.is_empty() {
            return report;
        }
        let shortest = match self {
            Self::Agreement(config) => shortest(&Agreement { config }),
            Self::Signing(_, signing) => shortest(&signing),
            Self::Founding(founding) => shortest(&founding),
        };
        if let Some((property, steps)) = shortest {
            report.broken = vec![property];
            report.shortest = steps;
        }
        report
    }
}

pub(crate) const fn bounds(name: &'static str, heights: u8, ticks: u8) -> Config {
    Config {
        name,
        heights,
        ticks,
        ..Config::SMALL
    }
}

pub(crate) const fn cheating(
    name: &'static str,
    parties: &[Party],
    heights: u8,
    ticks: u8,
) -> Config {
    Config {
        cheats: Parties::of(parties),
        stranger: true,
        words: 1,
        desk: true,
        ..bounds(name, heights, ticks)
    }
}

pub(crate) const fn restored(
    name: &'static str,
    parties: &[Party],
    heights: u8,
    ticks: u8,
) -> Config {
    Config {
        restores: Parties::of(parties),
        goes_on: true,
        ..bounds(name, heights, ticks)
    }
}

pub(crate) const SMALL: Config = Config {
    goes_on: true,
    words: 1,
    ends: true,
    ..bounds("one height", 1, 1)
};

pub(crate) const DESK: Config = Config {
    desk: true,
    goes_on: true,
    ..bounds("freezes of the desk", 3, 2)
};

pub(crate) const WORDS: Config = Config {
    words: 2,
    goes_on: true,
    ..bounds("two words of the device", 2, 2)
};

pub(crate) const RESTORED_DESK: Config = Config {
    desk: true,
    ..restored("broker restored, freezes", &[Broker], 2, 1)
};

/// Of the agreement: where every claim must hold.
const AGREEMENTS: &[Config] = &[
    SMALL,
    Config {
        ends: true,
        stranger: true,
        goes_on: true,
        ..bounds("logins", 3, 3)
    },
    DESK,
    Config {
        words: 1,
        goes_on: true,
        ..bounds("a word", 3, 3)
    },
    WORDS,
    Config {
        words: 2,
        goes_on: true,
        ..bounds("two words, three heights", 3, 2)
    },
    Config {
        desk: true,
        words: 1,
        ends: true,
        stranger: true,
        goes_on: true,
        ..bounds("all of that at once", 2, 2)
    },
    Config {
        desk: true,
        words: 1,
        goes_on: true,
        ..bounds("desk and word, three heights", 3, 2)
    },
    Config {
        goes_on: true,
        ..cheating("device cheats", &[Device], 2, 2)
    },
    Config {
        desk: false,
        goes_on: true,
        ..cheating("device cheats, three heights", &[Device], 3, 1)
    },
    cheating("broker cheats", &[Broker], 3, 3),
    cheating("trust operator cheats", &[TrustOperator], 3, 2),
    cheating("device and broker cheat", &[Device, Broker], 3, 3),
    cheating(
        "device and trust operator cheat",
        &[Device, TrustOperator],
        3,
        2,
    ),
    cheating(
        "broker and trust operator cheat",
        &[Broker, TrustOperator],
        3,
        3,
    ),
    restored("device restored", &[Device], 3, 2),
    restored("broker restored", &[Broker], 3, 2),
    restored("trust operator restored", &[TrustOperator], 3, 2),
    Config {
        words: 1,
        ..restored("device restored, a word", &[Device], 2, 2)
    },
    Config {
        words: 1,
        ..restored("broker restored, a word", &[Broker], 2, 2)
    },
    Config {
        words: 1,
        ..restored("trust operator restored, a word", &[TrustOperator], 2, 2)
    },
    Config {
        words: 1,
        ..restored("device restored, a word, higher", &[Device], 3, 1)
    },
    Config {
        words: 1,
        ..restored("broker restored, a word, higher", &[Broker], 3, 1)
    },
    Config {
        words: 1,
        ..restored(
            "trust operator restored, a word, higher",
            &[TrustOperator],
            3,
            1,
        )
    },
    Config {
        desk: true,
        ..restored("device restored, freezes", &[Device], 3, 1)
    },
    RESTORED_DESK,
    Config {
        desk: true,
        ..restored("broker restored, freezes, higher", &[Broker], 3, 1)
    },
    Config {
        desk: true,
        ..restored("trust operator restored, freezes", &[TrustOperator], 3, 1)
    },
    restored("device and broker restored", &[Device, Broker], 2, 2),
    restored(
        "device and trust operator restored",
        &[Device, TrustOperator],
        2,
        2,
    ),
    Config {
        cheats: Parties::of(&[Device]),
        words: 1,
        ..restored("broker restored, device cheats", &[Broker], 2, 2)
    },
    Config {
        cheats: Parties::of(&[Device]),
        words: 1,
        ..restored(
            "trust operator restored, device cheats",
            &[TrustOperator],
            2,
            2,
        )
    },
    Config {
        cheats: Parties::of(&[Broker]),
        words: 1,
        goes_on: false,
        ..restored("device restored, broker cheats", &[Device], 2, 2)
    },
    Config {
        cheats: Parties::of(&[TrustOperator]),
        words: 1,
        goes_on: false,
        ..restored("device restored, trust operator cheats", &[Device], 2, 2)
    },
];

/// What does not hold, so that the search must find it.
const LIMITS: &[Config] = &[
    restored("both operators restored", &[Broker, TrustOperator], 2, 2),
    Config {
        cheats: Parties::of(&[TrustOperator]),
        ..restored("broker restored, trust operator cheats", &[Broker], 2, 2)
    },
    Config {
        cheats: Parties::of(&[Broker]),
        ..restored(
            "trust operator restored, broker cheats",
            &[TrustOperator],
            2,
            2,
        )
    },
    Config {
        cheats: Parties::of(&[Broker, TrustOperator]),
        stranger: true,
        ..restored("device restored, operators cheat", &[Device], 2, 2)
    },
];

/// Who cheats in the runs about one signature.
const SIGNINGS: &[(&str, &[Party])] = &[
    ("one signature", &[]),
    ("one signature, device cheats", &[Device]),
    ("one signature, broker cheats", &[Broker]),
    ("one signature, trust operator cheats", &[TrustOperator]),
    ("one signature, device and broker cheat", &[Device, Broker]),
    (
        "one signature, device and trust operator",
        &[Device, TrustOperator],
    ),
    (
        "one signature, broker and trust operator",
        &[Broker, TrustOperator],
    ),
];

/// Everything that is searched to its end, each run within a minute on two cores.
pub fn runs() -> impl Iterator<Item = Run> {
    let agreements = AGREEMENTS.iter().chain(LIMITS).copied();
    let signings = SIGNINGS.iter().map(|(name, cheats)| {
        let cheats = Parties::of(cheats);
        Run::Signing(name, Signing { cheats, off: None })
    });
    let founding = Run::Founding(Founding { off: None });
    agreements
        .map(Run::Agreement)
        .chain(signings)
        .chain([founding])
}
