//! aquatint-workflows
