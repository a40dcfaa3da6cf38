//! A calm world of one account, and what a hand needs to move it.

use warifu_consensus::{
    agree::{Event, LoginId, Outcome, Record},
    block::Kind,
    encoding::Hash,
    party::Role,
};
use warifu_simulator::{
    standing,
    world::{Answer, Mood, World},
};

/// One account with a genesis, all lines up, nobody answers prompts.
pub(crate) fn calm() -> World {
    let mut world = World::new(7, &standing()[..1], vec![]);
    world.now += 1_000_000;
    world.make_fair();
    world.mood = Mood::ByHand;
    world.run_for(3);
    world
}

/// Waits for a login's prompt: its hash.
pub(crate) fn prompt(world: &mut World) -> Hash {
    let before = world.places[0].prompts.len();
    assert!(
        world.run_to(60, |w| w.places[0].prompts.len() > before),
        "no prompt"
    );
    world.places[0].prompts.last().expect("a prompt").0
}

/// The customer types the page's number.
pub(crate) fn approve(world: &mut World, hash: Hash) {
    let prompts = &world.places[0].prompts;
    let nonce = prompts
        .iter()
        .rev()
        .find(|p| p.0 == hash)
        .expect("a prompt")
        .1
        .clone();
    let number = world.page_number(0, &nonce).expect("a number on the page");
    world.answer(0, hash, Answer::Number(number));
}

/// Begins a login and brings its prompt to the device.
pub(crate) fn begin(world: &mut World, kind: Kind) -> (LoginId, Hash) {
    let login = world.begin(0, kind, 90);
    (login, prompt(world))
}

/// How a login ended, as its page heard it first.
pub(crate) fn outcome(world: &World, login: LoginId) -> Option<&Outcome> {
    world.places[0].logins.get(&login)?.ended.as_ref()
}

/// Waits until a login ended.
pub(crate) fn end(world: &mut World, login: LoginId) -> Outcome {
    assert!(
        world.run_to(400, |w| outcome(w, login).is_some()),
        "login never ended"
    );
    outcome(world, login).expect("just seen").clone()
}

/// Waits until a login is admitted.
pub(crate) fn admitted(world: &mut World, login: LoginId) {
    let outcome = end(world, login);
    assert!(matches!(outcome, Outcome::Admitted(_)), "{outcome:?}");
}

/// A whole login from begin to admitted.
pub(crate) fn log_in(world: &mut World, kind: Kind) {
    let (login, hash) = begin(world, kind);
    approve(world, hash);
    admitted(world, login);
}

/// The kinds in a party's chain.
pub(crate) fn kinds(world: &World, role: Role) -> Vec<Kind> {
    world
        .seat(0, role)
        .chain()
        .map(|s| s.block.claims().kind)
        .collect()
}

/// Whether a party's journal has such a record.
pub(crate) fn has(world: &World, role: Role, so: impl Fn(&Record) -> bool) -> bool {
    world.seat(0, role).records.iter().any(so)
}

/// How often this party told such an event.
pub(crate) fn told(world: &World, role: Role, so: impl Fn(&Event) -> bool) -> usize {
    world.places[0]
        .told
        .iter()
        .filter(|(r, e)| *r == role && so(e))
        .count()
}

/// Everything that must hold, at the end.
pub(crate) fn holds(mut world: World) {
    world.run_for(60);
    world.audit.at_rest();
    let story: Vec<&str> = world.story.lines().map(String::as_str).collect();
    assert!(
        world.audit.violations.is_empty(),
        "{:?}\n{}",
        world.audit.violations,
        story.join("\n")
    );
}

/// Sets the disk of a party of account 0 back to the copy that holds so many of its records, and no
/// more; [`World::start`] starts it.
pub(crate) fn set_back(world: &mut World, role: Role, records: usize) {
    let node = World::node_of(0, role);
    let frames = world.nodes[node].disk.read().expect("a sound disk");
    let (mut held, mut keep) = (0, 0);
    while held < records {
        held += frames[keep].entries.len();
        keep += 1;
    }
    assert!(held >= records, "the disk holds them");
    world.set_back(node, (frames.len() - keep) as u64);
}
