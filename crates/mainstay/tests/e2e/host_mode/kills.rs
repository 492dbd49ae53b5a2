//! Killed at every step of its start and of its end, an instance leaves nothing that `mainstay down` does not take back.

use super::world::World;
use crate::processes::Ours;
use crate::sandbox::text;

/// More steps than there are.
const MOST: usize = 60;

fn down_restores(world: &mut World, before: &crate::host::Host, moment: &str) {
    let output = world.down();
    assert!(output.status.success(), "down after {moment}: {}", text(&output));
    let left = world.look().changes_since(before);
    assert!(left.is_empty(), "killed at {moment}, then down: {left:#?}\n{}", world.log());
}

/// Starts that are killed at the n-th moment of a sort; how many there are.
fn starts_killed(world: &mut World, sort: &str) -> usize {
    let before = world.look();
    for number in 1..=MOST {
        let moment = format!("{sort}:{number}");
        if !reaches(world, &moment) {
            down_restores(world, &before, &moment);
            return number - 1;
        }
        down_restores(world, &before, &moment);
    }
    panic!("a start has more than {MOST} moments of sort {sort}");
}

/// Starts a server that is to die at a moment; whether it died there before it was ready.
fn reaches(world: &mut World, moment: &str) -> bool {
    let ready = world.log().matches("export KUBECONFIG=").count();
    world.launch(&[], Some(moment));
    let mut died = false;
    world.until(moment, |world| {
        died = !world.runs();
        died || world.log().matches("export KUBECONFIG=").count() > ready
    });
    if died {
        assert!(world.ended_by_kill(), "the server was to be killed at {moment}:\n{}", world.log());
    }
    died
}

#[test]
fn a_start_killed_at_any_step_leaves_nothing_after_down() {
    let mut world = World::new();
    let notes = starts_killed(&mut world, "note");
    let makes = starts_killed(&mut world, "make");
    assert!(notes >= 12 && makes >= 10, "steps were passed: {notes} notes, {makes} changes");
}

#[test]
fn a_down_killed_at_any_step_is_finished_by_the_next() {
    let mut world = World::new();
    let before = world.look();
    for number in 1..=MOST {
        world.up(&[]);
        world.stop(rustix::process::Signal::KILL);
        let moment = format!("undo:{number}");
        let first = world.mainstay(&["down"]).env("MAINSTAY_KILL_AT", &moment).output().expect("mainstay down runs");
        let killed = !first.status.success();
        down_restores(&mut world, &before, &moment);
        if !killed {
            assert!(number >= 10, "only {number} steps back");
            return;
        }
    }
    panic!("down has more than {MOST} steps");
}

#[test]
fn everything_killed_at_once_leaves_nothing_after_down() {
    let mut world = World::new();
    let before = world.look();
    world.up(&[]);
    world.apply(include_str!("../../../src/cli/demo/types.yaml"));
    world.kubectl_ok(&["rollout", "status", "deployment/my-app", "--timeout=60s"]);
    let ours = Ours::on_host(world.path(), world.host.pid());
    assert!(ours.kill() >= 5, "server, holder and pods were found: {ours:?}");
    down_restores(&mut world, &before, "kill -9 of everything");
    world.until("no process is left", |_| ours.left().is_empty());
}
