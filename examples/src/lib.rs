//! aquatint-examples
