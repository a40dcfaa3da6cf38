//! Runs a search and says what it found.

use std::{
    collections::{HashSet, VecDeque},
    fmt,
    hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher, Hash},
    io::{self, IsTerminal as _},
    iter, thread,
    time::{Duration, Instant},
};

use stateright::{Checker, Expectation, HasDiscoveries, Model};

const PROGRESS_EVERY: Duration = Duration::from_millis(200);

/// What a search found.
#[derive(Clone, Debug)]
pub struct Report {
    /// The run's name.
    pub name: String,
    /// Different states.
    pub states: usize,
    /// Steps of the longest way to a new state.
    pub depth: usize,
    /// How long it took.
    pub took: Duration,
    /// How many properties it looked at.
    pub properties: usize,
    /// Properties that a state breaks.
    pub broken: Vec<&'static str>,
    /// What must be reachable and is not.
    pub never: Vec<&'static str>,
    /// The steps of a shortest way to something broken, if it was asked for.
    pub shortest: Vec<String>,
}

impl Report {
    /// Nothing broken, nothing vacuous.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.broken.is_empty() && self.never.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.took.as_secs_f64();
        let result = if self.holds() { "holds" } else { "BROKEN" };
        let (name, states, depth) = (&self.name, self.states, self.depth);
        let properties = self.properties;
        write!(
            f,
            "{name:<40} {states:>9} {depth:>6} {seconds:>8.1} {properties:>11}  {result}"
        )?;
        for property in &self.broken {
            write!(f, "\n  broken: {property}")?;
        }
        for (at, step) in (1..).zip(&self.shortest) {
            write!(f, "\n    {at:>2} {step}")?;
        }
        for property in &self.never {
            write!(f, "\n  never: {property}")?;
        }
        Ok(())
    }
}

/// The heading over [`Report`]s.
#[must_use]
pub fn heading() -> String {
    format!(
        "{:<40} {:>9} {:>6} {:>8} {:>11}",
        "configuration", "states", "depth", "seconds", "properties"
    )
}

/// Searches all that is reachable, or until something is broken. With `progress`, a terminal shows how
/// many states it has seen.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "how long a search took is for the table, not for the model"
)]
pub fn search<M>(name: &str, model: M, progress: bool) -> Report
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + fmt::Debug + Hash + PartialEq + Send + Sync,
    M::Action: Clone + fmt::Debug + PartialEq,
{
    let begun = Instant::now();
    let properties = model.properties();
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let checker = model.checker().threads(threads);
    let checker = checker.finish_when(HasDiscoveries::AnyFailures).spawn_bfs();
    if progress && io::stderr().is_terminal() {
        while !checker.is_done() {
            eprint!("\r{name}: {} states", checker.unique_state_count());
            thread::sleep(PROGRESS_EVERY);
        }
        eprint!("\r\x1b[K");
    }
    let checker = checker.join();
    let found = checker.discoveries();
    let mut report = Report {
        name: name.to_owned(),
        states: checker.unique_state_count(),
        depth: checker.max_depth(),
        took: begun.elapsed(),
        properties: properties.len(),
        broken: Vec::new(),
        never: Vec::new(),
        shortest: Vec::new(),
    };
    for property in properties {
        let is_found = found.contains_key(property.name);
        match property.expectation {
            Expectation::Sometimes if !is_found => report.never.push(property.name),
            Expectation::Always | Expectation::Eventually if is_found => {
                report.broken.push(property.name);
            }
            _ => {}
        }
    }
    if !report.broken.is_empty() {
        // The search stopped early: what it had not reached by then says nothing.
        report.never.clear();
    }
    report
}

/// A shortest way to a state that breaks an `always` property: its name, and the steps. The library's
/// search finds some way there, not a shortest one.
#[must_use]
pub fn shortest<M>(model: &M) -> Option<(&'static str, Vec<String>)>
where
    M: Model,
    M::State: Hash,
    M::Action: Clone + fmt::Debug,
{
    let mut properties = model.properties();
    properties.retain(|property| property.expectation == Expectation::Always);
    // Each step that led to a new state, and the step before it.
    let mut steps: Vec<(M::Action, Option<usize>)> = Vec::new();
    let mut seen: HashSet<u64> = HashSet::new();
    let hasher = BuildHasherDefault::<DefaultHasher>::default();
    let starts = model.init_states();
    let mut waiting: VecDeque<_> = starts.into_iter().map(|state| (state, None)).collect();
    let mut actions = Vec::new();
    while let Some((state, by)) = waiting.pop_front() {
        let mut broken = properties.iter();
        if let Some(broken) = broken.find(|p| !(p.condition)(model, &state)) {
            let before = |at: &usize| steps.get(*at).and_then(|(_, before)| *before);
            let mut way: Vec<_> = iter::successors(by, before).collect();
            way.reverse();
            let way = way.into_iter().filter_map(|at| steps.get(at));
            return Some((broken.name, way.map(|(a, _)| format!("{a:?}")).collect()));
        }
        model.actions(&state, &mut actions);
        for action in actions.drain(..) {
            let next = model.next_state(&state, action.clone());
            let Some(next) = next.filter(|next| seen.insert(hasher.hash_one(next))) else {
                continue;
            };
            waiting.push_back((next, Some(steps.len())));
            steps.push((action, by));
        }
    }
    None
}
