//! Which accounts are erased here, and what of that the other operator has been told on this line.
//!
//! On a new line all of it is to be said, by either side: a restored copy learns it again. An account is settled on a
//! line once both have said it there; what was said and not answered is said again. A peer that answers is told as
//! fast as it does, any other a few frames at a time, so that nothing else on the line has to wait. Sends nothing.

use std::collections::{HashMap, VecDeque};

use warifu_consensus::{agree::Erasure, log::MAX_ERASED, party::Sub};

/// Accounts that may be said and not answered until the next tick: four frames of about 45 KB, of the 1 MiB that a
/// line's outbox takes.
pub(super) const WINDOW: usize = 4 * MAX_ERASED;

/// An erased account as it is known here.
#[derive(Clone, Copy, Debug)]
struct Known {
    erasure: Erasure,
    both: bool,
    /// The other operator said it on this line.
    heard: bool,
    stage: Stage,
}

/// How far an account is on this line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Not to be said yet.
    Held,
    /// It stands in `unsaid`.
    Unsaid,
    /// It stands in `unanswered`.
    Said,
    /// Both said it.
    Settled,
}

/// Accounts to say in one frame, and the line that they are meant for.
#[derive(Debug)]
pub(super) struct Words {
    line: u64,
    pub(super) accounts: Vec<(Sub, Erasure)>,
}

/// See the module. Its queues may name accounts that have moved on, which are skipped: none holds an account more than
/// twice.
#[derive(Debug, Default)]
pub(super) struct Saying {
    known: HashMap<Sub, Known>,
    unsaid: VecDeque<Sub>,
    unanswered: VecDeque<Sub>,
    /// Said since the last tick, and not answered.
    outstanding: usize,
    /// How many lines there were.
    line: u64,
}

impl Saying {
    /// Enters an erased account. `heard`: the other operator said it. `held`: it is not said before it is
    /// [released](Self::release).
    pub(super) fn enter(
        &mut self,
        sub: Sub,
        erasure: Erasure,
        both: bool,
        heard: bool,
        held: bool,
    ) {
        if let Some(known) = self.known.get_mut(&sub) {
            known.both |= both;
            return;
        }
        let stage = if held { Stage::Held } else { Stage::Unsaid };
        let known = Known {
            erasure,
            both,
            heard,
            stage,
        };
        self.known.insert(sub, known);
        if !held {
            self.unsaid.push_back(sub);
        }
    }

    /// What was held may be said.
    pub(super) fn release(&mut self, sub: Sub) {
        if let Some(known) = self.known.get_mut(&sub)
            && known.stage == Stage::Held
        {
            known.stage = Stage::Unsaid;
            self.unsaid.push_back(sub);
        }
    }

    pub(super) fn is_known(&self, sub: &Sub) -> bool {
        self.known.contains_key(sub)
    }

    pub(super) fn erasure(&self, sub: &Sub) -> Option<Erasure> {
        self.known.get(sub).map(|known| known.erasure)
    }

    /// Whether both operators have their record of it.
    pub(super) fn is_both(&self, sub: &Sub) -> bool {
        self.known.get(sub).is_some_and(|known| known.both)
    }

    pub(super) fn subs(&self) -> Vec<Sub> {
        self.known.keys().copied().collect()
    }

    /// A new line: all is to be said again.
    pub(super) fn new_line(&mut self) {
        self.line = self.line.saturating_add(1);
        self.outstanding = 0;
        self.unanswered.clear();
        self.unsaid.clear();
        for (sub, known) in &mut self.known {
            known.heard = false;
            if known.stage != Stage::Held {
                known.stage = Stage::Unsaid;
                self.unsaid.push_back(*sub);
            }
        }
    }

    /// The other operator said these on this line; those of them that it has not been told there.
    pub(super) fn heard(&mut self, subs: &[Sub]) -> Words {
        for sub in subs {
            let Some(known) = self.known.get_mut(sub) else {
                continue;
            };
            known.heard = true;
            if known.stage == Stage::Said {
                known.stage = Stage::Settled;
                self.outstanding = self.outstanding.saturating_sub(1);
            }
        }
        self.unsaid_of(subs)
    }

    /// Those of these accounts that are to be said.
    pub(super) fn unsaid_of(&self, subs: &[Sub]) -> Words {
        let unsaid = subs.iter().filter_map(|sub| {
            let known = self.known.get(sub)?;
            (known.stage == Stage::Unsaid).then_some((*sub, known.erasure))
        });
        Words {
            line: self.line,
            accounts: unsaid.collect(),
        }
    }

    /// Takes the next frame's accounts out of the queue: none when all is said, or enough for now.
    pub(super) fn next(&mut self) -> Words {
        let mut accounts = Vec::new();
        while self.outstanding < WINDOW && accounts.len() < MAX_ERASED {
            let Some(sub) = self.unsaid.pop_front() else {
                break;
            };
            if let Some(known) = self.known.get(&sub)
                && known.stage == Stage::Unsaid
            {
                accounts.push((sub, known.erasure));
            }
        }
        Words {
            line: self.line,
            accounts,
        }
    }

    /// The line took no frame of these: they are the next again.
    pub(super) fn unsent(&mut self, words: Words) {
        if words.line == self.line {
            for (sub, _) in words.accounts.into_iter().rev() {
                self.unsaid.push_front(sub);
            }
        }
    }

    /// The line took a frame of these: unless it is another line by now, they are said.
    pub(super) fn sent(&mut self, words: &Words) {
        if words.line != self.line {
            return;
        }
        for (sub, _) in &words.accounts {
            let Some(known) = self.known.get_mut(sub) else {
                continue;
            };
            if known.stage != Stage::Unsaid {
                continue;
            }
            if known.heard {
                known.stage = Stage::Settled;
            } else {
                known.stage = Stage::Said;
                self.unanswered.push_back(*sub);
                self.outstanding = self.outstanding.saturating_add(1);
            }
        }
    }

    /// A tick: what was not answered is said again, the longest unanswered first, behind what was never said.
    pub(super) fn tick(&mut self) {
        self.outstanding = 0;
        let mut again = 0;
        while again < WINDOW
            && let Some(sub) = self.unanswered.pop_front()
        {
            if let Some(known) = self.known.get_mut(&sub)
                && known.stage == Stage::Said
            {
                known.stage = Stage::Unsaid;
                self.unsaid.push_back(sub);
                again += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use warifu_consensus::{encoding::Hash, signature::IdentityKey, vote::Vote};

    use super::*;

    fn subs(count: u32) -> Vec<Sub> {
        let sub = |number: u32| {
            let mut bytes = [7; 16];
            bytes[..4].copy_from_slice(&number.to_le_bytes());
            Sub(bytes)
        };
        (0..count).map(sub).collect()
    }

    fn erasure() -> Erasure {
        let (head, key) = (Hash([2; 32]), IdentityKey::from_seed([5; 32]));
        let vote = Vote::sign(&key, &Erasure::statement(Sub::ZERO, head));
        Erasure { head, vote }
    }

    /// Knows these, on a new line.
    fn side(subs: &[Sub]) -> Saying {
        let (mut side, erasure) = (Saying::default(), erasure());
        for sub in subs {
            side.enter(*sub, erasure, true, false, false);
        }
        side.new_line();
        side
    }

    /// Says what may be said into a line that takes so many frames.
    fn say(from: &mut Saying, line: &mut VecDeque<Vec<Sub>>, places: usize) {
        loop {
            let words = from.next();
            if words.accounts.is_empty() {
                return;
            }
            if line.len() >= places {
                from.unsent(words);
                return;
            }
            from.sent(&words);
            line.push_back(words.accounts.iter().map(|(sub, _)| *sub).collect());
        }
    }

    /// Hears one frame, and answers it with one at most.
    fn hear(to: &mut Saying, frame: &[Sub], line: &mut VecDeque<Vec<Sub>>) {
        let words = to.heard(frame);
        if !words.accounts.is_empty() {
            to.sent(&words);
            line.push_back(words.accounts.iter().map(|(sub, _)| *sub).collect());
        }
    }

    #[test]
    fn a_restored_side_is_told_everything_within_a_small_outbox_and_then_both_are_silent() {
        let all = subs(40_000);
        let (mut old, mut restored) = (side(&all), side(&all[..100]));
        let erasure = erasure();
        let (mut there, mut back) = (VecDeque::new(), VecDeque::new());
        let (mut told, mut frames, mut ticks) = (HashSet::new(), 0, 0);
        while told.len() < all.len() {
            // Without a tick, as long as it is answered.
            say(&mut old, &mut there, 2);
            say(&mut restored, &mut back, 2);
            assert!(old.outstanding <= WINDOW && there.len() <= 6, "bounded");
            if there.is_empty() && back.is_empty() {
                old.tick();
                ticks += 1;
            }
            if let Some(frame) = there.pop_front() {
                frames += 1;
                for sub in &frame {
                    // It follows, and its answer is due.
                    restored.enter(*sub, erasure, true, true, false);
                    told.insert(*sub);
                }
                hear(&mut restored, &frame, &mut back);
            }
            if let Some(frame) = back.pop_front() {
                hear(&mut old, &frame, &mut there);
            }
        }
        assert_eq!(ticks, 0, "it need not wait");
        assert!(frames <= 100 + 2, "each account once: {frames}");
        while let Some(frame) = back.pop_front() {
            hear(&mut old, &frame, &mut there);
        }
        assert_eq!(there.len(), 0, "no answer is answered");
        for side in [&mut old, &mut restored] {
            side.tick();
            assert_eq!(side.next().accounts, []);
            assert!(side.unsaid.is_empty() && side.unanswered.is_empty());
        }
    }

    #[test]
    fn what_is_not_answered_is_said_again_a_window_a_tick_and_all_in_turn() {
        let all = subs(5_000);
        let mut side = side(&all);
        let (mut line, mut said) = (VecDeque::new(), HashMap::<Sub, u32>::new());
        for _ in 0..8 {
            say(&mut side, &mut line, 100);
            let frames: Vec<_> = line.drain(..).collect();
            assert!(frames.iter().flatten().count() <= WINDOW);
            for sub in frames.into_iter().flatten() {
                *said.entry(sub).or_default() += 1;
            }
            side.tick();
        }
        assert_eq!(said.len(), all.len());
        assert!(said.values().all(|times| (1..=3).contains(times)));
        assert!(side.unsaid.len() + side.unanswered.len() <= all.len());
    }

    #[test]
    fn what_is_held_is_neither_said_nor_an_answer_and_a_word_for_an_old_line_counts_for_none() {
        let all = subs(2);
        let mut side = side(&all[..1]);
        side.enter(all[1], erasure(), true, true, true);
        assert_eq!(side.heard(&all[1..]).accounts, []);
        let words = side.next();
        assert_eq!(words.accounts.len(), 1);
        side.new_line();
        side.sent(&words);
        assert_eq!(side.next().accounts.len(), 1, "not said on this line");
        side.release(all[1]);
        assert_eq!(side.unsaid_of(&all[1..]).accounts.len(), 1);
    }
}
