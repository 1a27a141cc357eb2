//! Into the latent space: what is refused.

mod common;

use common::{dataset, tiny, tiny_closed_loop, trained};
use trajgan::{Movement, Point};

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
