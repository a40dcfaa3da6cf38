//! Both operators' logs, followed.

use std::{fs, time::Duration};

use warifu_consensus::log::Evidence;
use warifu_node::log::audit::{Alarm, Follower, Heard, Limits};

use super::{served::Server, *};
use crate::cli::{fails, run, succeeds};

const TICK: Duration = Duration::from_secs(5);
const LIMITS: Limits = Limits {
    stall: Duration::from_secs(10),
    quiet: Duration::from_secs(60),
};

struct Both {
    servers: [Server; 2],
    follower: Follower,
    dir: TempDir,
}

impl Both {
    async fn new(size: u64) -> Both {
        let servers = [Server::new(size).await, Server::new(size).await];
        let dir = TempDir::new().unwrap();
        let clients = servers.iter().map(Server::client).collect();
        let follower = Follower::new(clients, keys(), dir.path(), LIMITS);
        Both {
            servers,
            follower,
            dir,
        }
    }

    async fn look(&mut self) -> Vec<Heard> {
        self.follower.look(TICK).await
    }

    async fn alarms(&mut self) -> Vec<Option<Alarm>> {
        self.look().await.iter().map(|heard| heard.alarm).collect()
    }
}

#[tokio::test]
async fn growth_is_no_alarm_and_standing_still_alone_is() {
    let mut both = Both::new(100).await;
    for _ in 0..4 {
        assert_eq!(both.alarms().await, [None, None]);
        both.servers[0].log.grow(300, 0);
        assert_eq!(both.alarms().await, [None, None], "one is a little behind");
        both.servers[1].log.grow(300, 0);
    }
    // Neither grows: nobody wrote anything.
    for _ in 0..5 {
        assert_eq!(both.alarms().await, [None, None]);
    }
    both.servers[1].log.grow(1, 0);
    assert_eq!(both.alarms().await, [None, None]);
    assert_eq!(both.alarms().await, [None, None]);
    assert_eq!(both.alarms().await, [Some(Alarm::Stalled), None]);
    both.servers[0].log.grow(1, 0);
    assert_eq!(both.alarms().await, [None, None]);
}

#[tokio::test]
async fn operators_that_stand_still_together_are_noticed() {
    let mut both = Both::new(100).await;
    assert_eq!(both.alarms().await, [None, None]);
    for _ in 0..2 {
        for _ in 0..11 {
            assert_eq!(both.alarms().await, [None, None]);
        }
        let first = both.look().await;
        assert!(first.iter().all(|one| one.alarm == Some(Alarm::Stalled)));
        assert_eq!(both.look().await, first, "nothing else is said of it");
        both.servers[0].log.grow(1, 0);
        both.servers[1].log.grow(1, 0);
        assert_eq!(both.alarms().await, [None, None]);
    }
}

#[tokio::test]
async fn operators_that_disagree_are_kept_as_evidence() {
    for larger in [0, 1] {
        let mut both = Both::new(400).await;
        assert_eq!(both.alarms().await, [None, None]);
        both.servers[0].log.grow(20, 0);
        both.servers[1].log.grow(20, 8);
        both.servers[larger].log.grow(90, 0);
        let heard = both.look().await;
        let fork = heard.iter().find(|heard| heard.alarm == Some(Alarm::Fork));
        let path = fork
            .and_then(|fork| fork.evidence.clone())
            .expect("evidence");
        let evidence = Evidence::from_text(&fs::read_to_string(path).unwrap()).unwrap();
        let fork = evidence.judge().unwrap();
        assert_eq!((fork.size, fork.witness_too), (420, true));
    }
}

#[tokio::test]
async fn evidence_outlives_later_looks_at_a_server_that_adds_lines() {
    let mut both = Both::new(400).await;
    both.servers[1].log.grow(20, 8);
    both.servers[0].log.grow(30, 0);
    let mut kept = Vec::new();
    for _ in 0..2 {
        let heard = both.look().await;
        let fork = heard.iter().find_map(|heard| heard.evidence.clone());
        let path = fork.expect("evidence");
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(
            Evidence::from_text(&text).unwrap().judge().unwrap().size,
            420
        );
        kept.push((path, text));
        for server in &both.servers {
            server.log.pad();
        }
    }
    assert_eq!(kept[0], kept[1]);
}

#[tokio::test]
async fn a_log_that_shrinks_lies_or_is_away_is_an_alarm() {
    let mut both = Both::new(300).await;
    assert_eq!(both.alarms().await, [None, None]);
    let older = Server::new(200).await;
    both.servers[0].log.say(&older.log.note());
    assert_eq!(both.alarms().await, [Some(Alarm::Shrank), None]);
    let checkpoint: warifu_consensus::log::Checkpoint =
        both.servers[1].log.note().text().parse().unwrap();
    both.servers[1].log.say(&checkpoint.signed(&log_key()));
    assert_eq!(both.alarms().await[1], Some(Alarm::Wrong));
    *both.servers[1].log.away.lock().unwrap() = true;
    assert_eq!(both.alarms().await[1], Some(Alarm::Unreachable));
}

#[tokio::test]
async fn what_was_seen_outlives_the_watcher() {
    let mut both = Both::new(300).await;
    both.look().await;
    let state = both.dir.path().join("state");
    both.follower.keep(&state).unwrap();
    let again = |both: &Both| {
        let clients = both.servers.iter().map(Server::client).collect();
        let mut follower = Follower::new(clients, keys(), both.dir.path(), LIMITS);
        follower.resume(&state).unwrap();
        follower
    };
    both.follower = again(&both);
    assert_eq!(both.alarms().await, [None, None]);
    // Both were forked meanwhile, alike: only who remembers can tell.
    for server in &mut both.servers {
        let note = {
            let forked = Server::new(200).await;
            forked.log.grow(100, 5);
            forked.log.note()
        };
        server.log.say(&note);
    }
    both.follower = again(&both);
    assert_eq!(both.alarms().await, [Some(Alarm::Fork), Some(Alarm::Fork)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_looks_once() {
    let both = Both::new(300).await;
    let dir = both.dir.path().to_path_buf();
    let text = warifu_node::config::render_ledger(&ledger(), &keys());
    fs::write(dir.join("ledger.toml"), text).unwrap();
    let [one, other] = [&both.servers[0].url, &both.servers[1].url];
    let line = format!("ledger watch {one} {other} --once --ledger DIR/ledger.toml --evidence DIR");
    let watch = || {
        let (line, dir) = (line.clone(), dir.clone());
        tokio::task::spawn_blocking(move || run(&line.split(' ').collect::<Vec<_>>(), &dir))
    };
    let told = succeeds(&watch().await.unwrap());
    assert_eq!(told.matches("300 leaves").count(), 2, "{told}");
    assert!(!told.contains("not compared"), "{told}");
    let one_alone = line.replace(&format!(" {other} "), " ");
    let (args, at) = (one_alone.clone(), dir.clone());
    let alone = tokio::task::spawn_blocking(move || run(&args.split(' ').collect::<Vec<_>>(), &at));
    let told = succeeds(&alone.await.unwrap());
    assert!(told.contains("so two were not compared"), "{told}");
    both.servers[0].log.grow(10, 0);
    both.servers[1].log.grow(10, 1);
    assert!(fails(&watch().await.unwrap(), 1).contains("1 alarm"));
}
