//! aquatint-tasks
