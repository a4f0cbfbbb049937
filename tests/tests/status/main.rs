//! The status endpoints end to end: their shapes, their numbers, and who may see them.

mod access;
mod explain;
mod gateway;
mod numbers;
mod shape;
mod shapes;
mod weights;
