//! Third-party applications, each with only the layers that it needs.

mod async_auth;
mod box_service;
mod breaker_around_client;
mod gateway_in_axum;
mod grpc;
mod json_api;
mod layers_between;
mod own_observer;
mod own_strategy;
mod plain_hyper;
mod rate_limit_by_ip;
mod tenant_quotas;
mod transport;
