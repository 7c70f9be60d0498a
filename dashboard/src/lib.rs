//! Server-rendered pages beside the API.
//!
//! There are none yet, and nothing links here until there are.
