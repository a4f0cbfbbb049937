//! Limits of tokens and cost.

mod account;
mod money;
mod prices;
mod record;

pub use self::{
    account::{Account, Measure, SpendLimit, SpendLimits, Subject},
    money::{InvalidMoney, Money},
    prices::{Cost, Price, Prices, Rates, Used},
    record::{SpendObserver, SpendOutcome, SpendRecord},
};
