//! The sampler against a naive one that sorts everything, and against the probabilities.

use proptest::prelude::*;

use super::*;

fn sampling(temperature: f32) -> Sampling {
    Sampling { temperature, ..Sampling::default() }
}

/// The tokens that may be drawn, the most probable first.
fn kept(filters: &Sampling, logits: &[f32]) -> Vec<u32> {
    let sampler = Sampler::new(filters, 0);
    let highest = weights::highest(logits);
    let mut kept = Vec::new();
    if let Some(k) = filters.top_k {
        sampler.filter(k, logits, highest, &mut kept);
    } else {
        let cut = sampler.cut(logits, highest, &mut Nucleus::default());
        let stays =
            |c: &Candidate| c.logit > cut.logit || (c.logit == cut.logit && c.id <= cut.last);
        kept = candidates(logits).filter(stays).collect();
        kept.sort_by(by_probability);
    }
    kept.iter().map(|candidate| candidate.id).collect()
}

/// What top-p alone keeps: sorts the whole vocabulary and adds it up, the most probable first.
fn sorted_nucleus(p: f32, logits: &[f32]) -> Vec<u32> {
    let weigh = Weigh::new(weights::highest(logits), 1.0);
    let mut sorted: Vec<Candidate> = candidates(logits).collect();
    sorted.sort_by(by_probability);
    let weights = sorted.iter().map(|candidate| f64::from(weigh.grain(candidate.logit)));
    let target = f64::from(p) * weights.clone().sum::<f64>();
    let kept = reached_at(weights, target).unwrap();
    sorted[..kept].iter().map(|candidate| candidate.id).collect()
}

fn sample_one(sampling: &Sampling, logits: &[f32]) -> u32 {
    Sampler::new(sampling, 0).sample(logits).unwrap()
}

/// What may be drawn and how probable it is, in the order of probability: sorts the whole
/// vocabulary and applies one filter after the other.
fn distribution(sampling: &Sampling, logits: &[f32]) -> Vec<(u32, f64)> {
    let mut tokens: Vec<(u32, f64)> = (0..)
        .zip(logits)
        .filter(|(_, logit)| !logit.is_nan() && **logit != f32::NEG_INFINITY)
        .map(|(id, logit)| (id, f64::from(*logit)))
        .collect();
    tokens.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    tokens.truncate(sampling.top_k.unwrap_or(usize::MAX));
    let softmax = |tokens: &[(u32, f64)], temperature: f64| -> Vec<f64> {
        let weights: Vec<f64> =
            tokens.iter().map(|(_, logit)| ((logit - tokens[0].1) / temperature).exp()).collect();
        let total: f64 = weights.iter().sum();
        weights.iter().map(|weight| weight / total).collect()
    };
    if let Some(p) = sampling.top_p {
        let mut reached = 0.0;
        let probabilities = softmax(&tokens, 1.0);
        let kept = probabilities.iter().take_while(|probability| {
            let open = reached < f64::from(p);
            reached += **probability;
            open
        });
        let kept = kept.count();
        tokens.truncate(kept);
    }
    if let Some(p) = sampling.min_p {
        let probabilities = softmax(&tokens, 1.0);
        let kept = probabilities.iter().filter(|q| **q >= f64::from(p) * probabilities[0]).count();
        tokens.truncate(kept);
    }
    let probabilities = softmax(&tokens, f64::from(sampling.temperature));
    tokens.iter().map(|(id, _)| *id).zip(probabilities).collect()
}

/// Logits without structure, the same on every run.
fn logits(count: usize, scale: f32) -> Vec<f32> {
    (0..count as u64).map(|id| (philox::uniform(7, 7, id) as f32 - 0.5) * scale).collect()
}

/// Pearson's statistic of the draws against the distribution, with its degrees of freedom.
fn chi_square(sampling: &Sampling, logits: &[f32], draws: usize) -> (f64, f64) {
    let expected = distribution(sampling, logits);
    let mut counts = vec![0usize; logits.len()];
    let mut sampler = Sampler::new(sampling, 3);
    for _ in 0..draws {
        counts[sampler.sample(logits).unwrap() as usize] += 1;
    }
    let statistic = expected.iter().map(|(id, probability)| {
        let wanted = probability * draws as f64;
        (counts[*id as usize] as f64 - wanted).powi(2) / wanted
    });
    let within: usize = expected.iter().map(|(id, _)| counts[*id as usize]).sum();
    assert_eq!(within, draws, "tokens were drawn that the filters exclude");
    (statistic.sum(), expected.len() as f64 - 1.0)
}

#[test]
fn greedy_takes_the_highest_logit_and_the_lowest_id_among_equals() {
    assert_eq!(sample_one(&sampling(0.0), &[0.0, 3.0, 3.0, -1.0]), 1);
    assert_eq!(sample_one(&sampling(0.0), &[f32::NAN, -5.0, f32::NAN, -4.0]), 3);
    assert_eq!(sample_one(&sampling(0.0), &[-0.0, 0.0]), 0);
    assert_eq!(sample_one(&sampling(0.0), &[1.0, f32::INFINITY, f32::INFINITY]), 1);
}

#[test]
fn logits_that_are_not_numbers_are_never_drawn() {
    let logits = [f32::NAN, 1.0, f32::NEG_INFINITY, 1.0, f32::NAN];
    for filters in [sampling(1.0), Sampling { top_k: Some(5), ..sampling(1.0) }] {
        let mut sampler = Sampler::new(&filters, 0);
        let drawn: std::collections::BTreeSet<u32> =
            (0..200).map(|_| sampler.sample(&logits).unwrap()).collect();
        assert_eq!(drawn.into_iter().collect::<Vec<_>>(), [1, 3]);
    }
    assert_eq!(sample_one(&sampling(1.0), &[0.0, f32::INFINITY]), 1);
}

#[test]
fn logits_without_a_single_number_are_an_error() {
    for logits in [&[] as &[f32], &[f32::NAN, f32::NEG_INFINITY]] {
        for temperature in [0.0, 1.0] {
            let error = Sampler::new(&sampling(temperature), 0).sample(logits).unwrap_err();
            assert!(error.to_string().contains("no usable logits"), "{error}");
        }
    }
}

#[test]
fn the_same_seed_row_and_index_draw_the_same_token() {
    let logits = logits(100, 4.0);
    let draws = |seed, row| -> Vec<u32> {
        let mut sampler = Sampler::new(&Sampling { seed, ..sampling(1.0) }, row);
        (0..20).map(|_| sampler.sample(&logits).unwrap()).collect()
    };
    assert_eq!(draws(1, 5), draws(1, 5));
    assert_ne!(draws(1, 5), draws(1, 6));
    assert_ne!(draws(1, 5), draws(2, 5));
}

#[test]
fn tokens_are_drawn_as_often_as_they_are_probable() {
    let base = sampling(0.8);
    let cases = [
        base.clone(),
        Sampling { top_k: Some(20), ..base.clone() },
        Sampling { top_p: Some(0.9), ..base.clone() },
        Sampling { min_p: Some(0.05), ..base.clone() },
        Sampling { top_k: Some(40), top_p: Some(0.8), min_p: Some(0.1), ..base },
        Sampling { top_k: Some(10), ..sampling(1.7) },
    ];
    for case in cases {
        let (statistic, freedom) = chi_square(&case, &logits(200, 6.0), 40_000);
        // the mean is `freedom` and the standard deviation √(2·freedom)
        assert!(
            (statistic - freedom).abs() < 4.0 * (2.0 * freedom).sqrt(),
            "{case:?}: {statistic}"
        );
    }
}

/// Logits of a whole vocabulary: near a bell curve, some heads above it.
fn vocabulary(size: usize, spread: f32, heads: usize) -> Vec<f32> {
    let uniform = |id: u64, draw: u64| philox::uniform(11, draw, id) as f32 - 0.5;
    let mut logits: Vec<f32> = (0..size as u64)
        .map(|id| (0..6).map(|draw| uniform(id, draw)).sum::<f32>() * spread)
        .collect();
    for head in 0..heads {
        logits[(head * 7919 + 13) % size] = 4.0 * spread - head as f32 * 0.3;
    }
    logits
}

#[test]
fn a_nucleus_of_a_whole_vocabulary_is_the_one_that_sorting_finds() {
    for (size, spread, heads) in [
        (49_152, 3.0, 0),
        (49_152, 0.2, 0),
        (49_152, 6.0, 1),
        (49_153, 4.0, 40),
        (262_144, 2.0, 3),
        (5_000, 0.0, 0),
        (3_000, 1e30, 0),
    ] {
        let mut logits = vocabulary(size, spread, heads);
        let quantised: Vec<f32> = logits.iter().map(|logit| (logit * 4.0).round() / 4.0).collect();
        (logits[5], logits[17], logits[33]) = (f32::NAN, f32::NEG_INFINITY, -0.0);
        for logits in [logits, quantised] {
            for p in [1e-6, 0.1, 0.5, 0.9, 0.95, 0.999, 0.999_999] {
                let filters = Sampling { top_p: Some(p), ..sampling(1.0) };
                let (kept, sorted) = (kept(&filters, &logits), sorted_nucleus(p, &logits));
                assert!(
                    kept == sorted,
                    "{size} {spread} {heads} {p}: {} {}",
                    kept.len(),
                    sorted.len()
                );
            }
        }
    }
}

#[test]
fn of_equal_tokens_the_nucleus_keeps_the_lowest_ids_and_only_they_are_drawn() {
    let flat = vec![0.0; 1000];
    let filters = Sampling { top_p: Some(0.5), ..sampling(1.0) };
    assert_eq!(kept(&filters, &flat), (0..500).collect::<Vec<_>>());
    let mut sampler = Sampler::new(&filters, 0);
    let drawn: Vec<u32> = (0..2000).map(|_| sampler.sample(&flat).unwrap()).collect();
    assert!(drawn.iter().all(|id| *id < 500));
    assert!(drawn.iter().any(|id| *id > 400));
}

#[test]
fn the_filters_keep_what_llama_cpp_keeps() {
    // tests/test-sampling.cpp of llama.cpp: probabilities 0.1, 0.2, 0.3, 0.4
    let logits: Vec<f32> = [0.1f32, 0.2, 0.3, 0.4].map(f32::ln).to_vec();
    let kept = |filters: Sampling| kept(&filters, &logits);
    let base = sampling(1.0);
    assert_eq!(kept(Sampling { top_k: Some(1), ..base.clone() }), [3]);
    assert_eq!(kept(Sampling { top_k: Some(3), ..base.clone() }), [3, 2, 1]);
    assert_eq!(kept(Sampling { top_p: Some(0.1), ..base.clone() }), [3]);
    assert_eq!(kept(Sampling { top_p: Some(0.7 - 1e-6), ..base.clone() }), [3, 2]);
    assert_eq!(kept(Sampling { top_p: Some(0.8), ..base.clone() }), [3, 2, 1]);
    let min_p = |p| kept(Sampling { min_p: Some(p), ..base.clone() });
    assert_eq!(min_p(0.24), [3, 2, 1, 0]);
    assert_eq!(min_p(0.26), [3, 2, 1]);
    assert_eq!(min_p(0.51), [3, 2]);
    assert_eq!(min_p(0.76), [3]);
}

proptest! {
    #[test]
    fn greedy_equals_a_plain_search(
        logits in proptest::collection::vec(
            prop_oneof![Just(f32::NAN), Just(f32::NEG_INFINITY), (-4i8..4).prop_map(f32::from)],
            1..70,
        ),
    ) {
        let mut best: Option<(u32, f32)> = None;
        for (id, logit) in (0..).zip(&logits) {
            if *logit > best.map_or(f32::NEG_INFINITY, |(_, best)| best) {
                best = Some((id, *logit));
            }
        }
        let sampled = Sampler::new(&sampling(0.0), 0).sample(&logits).ok();
        prop_assert_eq!(sampled, best.map(|(id, _)| id));
    }

    #[test]
    fn the_best_are_taken_without_sorting_the_rest(
        logits in proptest::collection::vec(
            prop_oneof![Just(f32::NAN), Just(f32::NEG_INFINITY), (-4i8..4).prop_map(f32::from)],
            0..400,
        ),
        count in 1usize..100,
    ) {
        let mut best = Vec::new();
        take_best(&logits, count, &mut best);
        let mut sorted: Vec<Candidate> = candidates(&logits).collect();
        sorted.sort_by(by_probability);
        sorted.truncate(count);
        prop_assert_eq!(best, sorted);
    }

    #[test]
    fn the_filters_keep_what_sorting_everything_keeps(
        logits in proptest::collection::vec(-8.0f32..8.0, 1..300),
        top_k in proptest::option::of(1usize..50),
        top_p in proptest::option::of(0.05f32..1.0),
        min_p in proptest::option::of(0.001f32..0.5),
    ) {
        let filters = Sampling { top_k, top_p, min_p, ..sampling(1.0) };
        let drawn = sample_one(&filters, &logits);
        let kept = kept(&filters, &logits);
        let expected: Vec<u32> =
            distribution(&filters, &logits).into_iter().map(|(id, _)| id).collect();
        prop_assert_eq!(&kept, &expected);
        prop_assert!(kept.contains(&drawn));
    }

    #[test]
    fn a_nucleus_is_the_one_that_sorting_finds(
        logits in proptest::collection::vec(
            prop_oneof![
                1 => Just(f32::NAN),
                1 => Just(f32::NEG_INFINITY),
                4 => (-8i8..8).prop_map(f32::from),
                6 => -12.0f32..12.0,
                1 => Just(-3e38),
            ],
            1..2000,
        ),
        p in prop_oneof![0.0f32..1.0, Just(f32::MIN_POSITIVE), Just(1.0f32.next_down())],
    ) {
        prop_assume!(logits.iter().any(|logit| *logit > f32::NEG_INFINITY));
        let filters = Sampling { top_p: Some(p), ..sampling(1.0) };
        prop_assert_eq!(kept(&filters, &logits), sorted_nucleus(p, &logits));
    }
}
