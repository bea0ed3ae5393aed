//! One file per pass: each reads the cluster and fills its part of the tables.

pub(crate) mod answer;
pub(crate) mod base64;
pub(crate) mod capture;
pub(crate) mod controllers;
pub(crate) mod destination;
pub(crate) mod destination_rules;
pub(crate) mod endpoints;
pub(crate) mod expression;
pub(crate) mod header;
pub(crate) mod known_fields;
pub(crate) mod marks;
pub(crate) mod matches;
pub(crate) mod mode;
pub(crate) mod near;
pub(crate) mod pods;
pub(crate) mod reach;
pub(crate) mod retry;
pub(crate) mod rewrite;
pub(crate) mod routes;
pub(crate) mod services;
pub(crate) mod target;
pub(crate) mod unhonoured;
pub(crate) mod virtual_services;
pub(crate) mod visibility;
pub(crate) mod workload;
