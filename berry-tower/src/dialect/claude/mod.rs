//! Anthropic's Messages behind the gateway: chat requests written for it, its answers read.
