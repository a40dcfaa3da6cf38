//! Searches every run and prints what it found: `warifu-model` for the runs, `warifu-model mistakes` for
//! what breaks when one guard is left out, `warifu-model mistake NAME` for the shortest way there.

use std::process::ExitCode;

use warifu_model::{Guard, Shown, heading, runs, shown};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let all_well = match words.as_slice() {
        [] => search_all(),
        // Every one of them, also behind one that is not caught.
        ["mistakes"] => !Guard::ALL
            .iter()
            .map(|guard| mistake(*guard))
            .any(|well| !well),
        ["mistake", name] => explain(name),
        _ => {
            eprintln!("usage: warifu-model [mistakes | mistake NAME]");
            return ExitCode::from(2);
        }
    };
    if all_well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn search_all() -> bool {
    println!("{}", heading());
    let (mut count, mut states, mut seconds, mut broken) = (0, 0, 0.0, 0);
    for run in runs() {
        let report = run.explain(true);
        count += 1;
        states += report.states;
        seconds += report.took.as_secs_f64();
        if !report.holds() {
            broken += 1;
        }
        println!("{report}");
    }
    println!("{count} configurations, {states} states, {seconds:.0} s, {broken} broken");
    broken == 0
}

/// Whether it breaks something, or nothing if it is listed as redundant.
fn mistake(guard: Guard) -> bool {
    print!("rule {:<2} {guard:?}: ", guard.rule());
    match shown(guard) {
        Shown::By(run) => {
            let report = run.without(guard).search(false);
            println!("{}: {}", report.name, report.broken.join("; "));
            !report.broken.is_empty()
        }
        Shown::Redundant(reason) => {
            let mut about = runs().filter(|run| run.is_about(guard));
            let breaks = about.find(|run| !run.without(guard).search(true).broken.is_empty());
            let found = breaks.map_or("nothing breaks".into(), |run| {
                format!("listed as redundant, but \"{}\" breaks", run.name())
            });
            println!("{found}: {reason}");
            breaks.is_none()
        }
    }
}

fn explain(name: &str) -> bool {
    let Some(guard) = Guard::ALL.iter().find(|g| format!("{g:?}") == name) else {
        eprintln!("no guard is named {name}");
        return false;
    };
    println!("rule {}: {}", guard.rule(), guard.text());
    match shown(*guard) {
        Shown::By(run) => {
            let report = run.without(*guard).explain(true);
            println!("{}\n{report}", heading());
            !report.broken.is_empty()
        }
        Shown::Redundant(reason) => {
            println!("nothing breaks without it: {reason}");
            true
        }
    }
}
