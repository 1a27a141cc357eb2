//! Into the latent space and through it: what is refused, and what noise and places between two summaries are.

mod common;

use common::{dataset, options, tiny, tiny_closed_loop, train_until, trained};
use trajgan::rng::{Rng, Stream};
use trajgan::{Config, Device, Model, Movement, Point, SampleOptions, Stage};

#[test]
fn movements_that_cannot_be_encoded_are_refused() {
    let line = |n: usize| Movement {
        points: (0..n).map(|i| Point { x: i as f64, y: 0.0, t_ms: 8.0 * i as f64 }).collect(),
        ..Movement::default()
    };
    for (config, least) in [(tiny_closed_loop(), 2), (tiny(), 3)] {
        let model = trained(&config, &dataset(60, 3), 1);
        for n in [least - 1, 41] {
            let message = model.encode(&[line(5), line(n)], 1).unwrap_err().to_string();
            assert_eq!(message, format!("movement 1 is {n} points, expected {least} to 40 (max_seq_len)"));
        }
        let mut bent = line(5);
        bent.points[3].y = f64::INFINITY;
        let message = model.encode(&[bent], 1).unwrap_err().to_string();
        assert!(message.starts_with("movement 0, point 3 is ") && message.contains("inf"), "{message}");
    }
    let model = trained(&tiny(), &dataset(60, 3), 1);
    let message = model.encode_features(&[vec![0.0; 80], vec![f32::NAN; 80]], 1).unwrap_err().to_string();
    assert_eq!(message, "movement 1, number 0 is NaN, expected a finite number");
}

#[test]
fn an_interpolation_includes_both_ends() {
    let model = trained(&tiny(), &dataset(60, 3), 1);
    let (a, b) = (vec![0.5; 11], vec![-0.25; 11]);
    let z = model.interpolate(&a, &b, 4).unwrap();
    assert_eq!(z.dim(), (4, 11));
    for (row, expected) in z.outer_iter().zip([0.5, 0.25, 0.0, -0.25]) {
        assert!(row.iter().all(|z| (z - expected).abs() < 1e-6), "{row}, expected {expected}");
    }
    assert_eq!(model.interpolate(&a, &b, 1).unwrap_err().to_string(), "steps is 1, expected 2 or more");
}

/// Below 1 noise is clamped to twice psi: a sample changes if, and only if, one of its numbers is beyond. At 1 none is.
#[test]
fn truncation_clamps_the_noise() {
    let config = tiny();
    let model = trained(&config, &dataset(60, 3), 1);
    let draw = |truncation_psi| {
        let options = SampleOptions { seed: 4, seq_len: 20, truncation_psi, ..SampleOptions::default() };
        model.generate_features(200, Some(&[200.0; 200]), &options).unwrap().0
    };
    let (whole, clamped) = (draw(1.0), draw(0.7));
    let mut inside = 0;
    for (i, (a, b)) in whole.outer_iter().zip(clamped.outer_iter()).enumerate() {
        let mut rng = Rng::new(4, Stream::SampleNoise, i as u64);
        let within = (0..config.noise_dim).all(|_| rng.normal().abs() <= 1.4);
        assert_eq!(a == b, within, "{i}");
        inside += usize::from(within);
    }
    assert!((40..160).contains(&inside), "{inside} are not clamped");
    assert_eq!(draw(3.0), whole);
    let own = trained(&Config { truncation_psi: 0.25, ..tiny() }, &dataset(60, 3), 1);
    assert_eq!(own.sample_options().truncation_psi, 0.25);
    let average = draw(1e-9);
    for x in average.outer_iter() {
        assert!(x.iter().zip(&average).all(|(a, b)| (a - b).abs() < 1e-5), "one movement is left");
    }
}

#[test]
fn half_a_model_draws_nothing() {
    for config in [tiny(), tiny_closed_loop()] {
        let mut model = Model::new(config.clone(), Device::Cpu).unwrap();
        train_until(&mut model, &dataset(60, 3), Stage::Autoencoder, &options(&config, 1), u64::MAX);
        let message = model.generate(1, None, &SampleOptions::default()).unwrap_err().to_string();
        assert!(message.contains("the GAN has not been trained"), "{message}");
    }
    let model = trained(&tiny(), &dataset(60, 3), 1);
    for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let cases = [
            SampleOptions { truncation_psi: bad, ..SampleOptions::default() },
            SampleOptions { step_temperature: bad, ..SampleOptions::default() },
            SampleOptions { time_temperature: bad, ..SampleOptions::default() },
        ];
        assert!(cases.iter().all(|options| model.generate(1, None, options).is_err()), "{bad}");
    }
}

#[test]
fn a_length_that_is_asked_for_is_2_to_max_seq_len() {
    let model = trained(&tiny(), &dataset(60, 3), 1);
    let draw = |seq_len| model.generate(3, None, &SampleOptions { seq_len, ..SampleOptions::default() });
    for seq_len in [2, 40] {
        assert!(draw(seq_len).unwrap().iter().all(|m| m.points.len() == seq_len));
    }
    for seq_len in [1, 41] {
        let message = draw(seq_len).unwrap_err().to_string();
        assert!(message.starts_with(&format!("seq_len is {seq_len}, expected 2 to 40")), "{message}");
    }
}
