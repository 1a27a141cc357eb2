//! Both training stages.

pub mod shards;
pub mod stage1;
pub mod stage2;
