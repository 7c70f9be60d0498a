//! aquatint-api
