//! The concerns of an AI gateway, each a Tower layer of its own.
