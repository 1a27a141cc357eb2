//! The evaluation: its formulas against others' numbers, what it tells apart and what it does not, and how long it takes.

mod golden;
mod kinematics;
mod reference;
mod report;
#[path = "../skip/mod.rs"]
mod skip;
mod support;
mod time;
