//! aquatint-dashboard
