//! The README's configuration is one that loads.

use berry_server::config;

#[test]
fn the_readmes_configuration_loads() {
    let readme = include_str!("../../../README.md");
    let blocks: Vec<&str> = readme.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(!blocks.is_empty());
    for block in blocks {
        let loaded = config::parse(block, &|name| Some(format!("{name}-0123456789abcdef"))).unwrap();
        assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    }
}
