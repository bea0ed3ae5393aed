//! The controllers and the API server of the lab: the user's objects and the pods' states in, wanted pods and a
//! directory of complete objects out. The submodules are pure functions of their arguments; the loop that feeds them
//! is `run`.

pub(crate) mod cluster;
pub(crate) mod hosts;
pub(crate) mod pods;
pub(crate) mod run;
pub(crate) mod services;
pub(crate) mod slices;
pub(crate) mod state;
