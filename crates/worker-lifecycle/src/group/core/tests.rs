//! The core of a group against what it promises.
