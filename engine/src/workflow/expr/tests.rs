//! Expressions, evaluated.
