//! aquatint-tasks

pub mod generate;
pub mod painter;
pub mod provenance;
