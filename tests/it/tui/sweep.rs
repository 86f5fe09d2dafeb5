//! The Sweep screen: from the sizes to the size that is taken.

use batchgen::bench::sweep::Knee;
use batchgen::tui::app::{Effect, Screen};
use batchgen::tui::form::Field;
use crossterm::event::KeyCode;

use super::fixture::Bench;
use super::screens::at_all_sizes;

#[test]
fn a_sweep_half_way() {
    at_all_sizes("sweep_half_way", |width, height| Bench::sweep(width, height, 3));
}

#[test]
fn a_finished_sweep_shows_its_knee() {
    at_all_sizes("sweep_done", |width, height| Bench::sweep(width, height, 5));
}

#[test]
fn a_limit_on_memory() {
    at_all_sizes("sweep_limit", |width, height| {
        let mut bench = Bench::sweep(width, height, 5);
        bench.press('m');
        bench
    });
}

#[test]
fn the_sizes_of_a_sweep_are_asked_for() {
    at_all_sizes("sweep_sizes", |width, height| {
        let mut bench = Bench::done(width, height);
        bench.press('s');
        bench
    });
}

#[test]
fn s_and_enter_start_a_batched_lane_for_each_size() {
    for on_setup in [true, false] {
        let mut bench = if on_setup { Bench::ready(80, 24) } else { Bench::done(80, 24) };
        bench.press('s');
        for c in ",64".chars() {
            bench.press(c);
        }
        let effects = bench.key(KeyCode::Enter);
        let [Effect::Start(plan, _)] = &effects[..] else { panic!("{effects:?}") };
        let labels: Vec<&str> = plan.lanes.iter().map(|lane| lane.label.as_str()).collect();
        assert_eq!(
            labels,
            [
                "batched 1",
                "batched 2",
                "batched 4",
                "batched 8",
                "batched 16",
                "batched 32",
                "batched 64"
            ]
        );
    }
}

#[test]
fn wrong_sizes_start_nothing() {
    let mut bench = Bench::ready(80, 24);
    bench.press('s');
    for c in ",0".chars() {
        bench.press(c);
    }
    assert!(bench.key(KeyCode::Enter).is_empty());
    assert!(bench.screen().contains("a batch size is 0"), "{}", bench.screen());
}

#[test]
fn enter_takes_the_knee_to_setup() {
    let mut bench = Bench::sweep(80, 24, 5);
    let sweep = bench.app.session.as_ref().unwrap().sweep.clone().unwrap();
    let Knee::At { place, .. } = sweep.knee else { panic!("{:?}", sweep.knee) };
    let size = sweep.points[place].batch_size;
    bench.key(KeyCode::Enter);
    assert_eq!(bench.app.screen, Screen::Setup);
    assert_eq!(bench.app.form.value(Field::BatchSize), size.to_string());
    // and back
    bench.key(KeyCode::Esc);
    assert_eq!(bench.app.screen, Screen::Sweep);
}

#[test]
fn a_size_is_taken_though_no_lane_had_one() {
    let mut bench = Bench::sweep(80, 24, 5);
    bench.app.form.set(Field::Lanes, "sequential");
    bench.key(KeyCode::Right);
    bench.key(KeyCode::Right);
    bench.key(KeyCode::Enter);
    assert_eq!(bench.app.form.value(Field::Lanes), "sequential,batched:16");
    assert_eq!(bench.app.form.first_error(), None);
}

#[test]
fn a_sweep_can_be_looked_at_as_lanes_and_back() {
    let mut bench = Bench::sweep(80, 24, 3);
    bench.key(KeyCode::Tab);
    assert_eq!(bench.app.screen, Screen::Run);
    bench.press('s');
    assert_eq!(bench.app.screen, Screen::Sweep);
    let effects = bench.press(' ');
    assert!(matches!(effects[..], [Effect::Stop]), "{effects:?}");
}
