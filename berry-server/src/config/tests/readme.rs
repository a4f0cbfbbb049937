//! The configurations of the old Berry's handbook keep loading, with addresses and keys replaced.

use super::{good, load};
use berry_tower::backend::{Billing, Probe};

/// The shortest configuration of the handbook.
const FIRST: &str = r#"
# 全局设置
[settings]
health_check_interval_seconds = 30
request_timeout_seconds = 30
max_retries = 3
max_internal_retries = 2

# 用户认证
[users.admin]
name = "Administrator"
token = "berry-admin-token-12345"
allowed_models = []  # 空数组表示允许访问所有模型
enabled = true

# AI服务提供商
[providers.openai]
name = "OpenAI"
base_url = "https://api.openai.com/v1"
api_key = "sk-your-openai-key-here"
models = ["gpt-4", "gpt-3.5-turbo"]
enabled = true

# 模型映射
[models.gpt_4]
name = "gpt-4"
strategy = "weighted_failover"  # 推荐策略
enabled = true

[[models.gpt_4.backends]]
provider = "openai"
model = "gpt-4"
weight = 1.0
priority = 1
enabled = true
"#;

/// The configuration of its reference chapter.
const REFERENCE: &str = r#"
[settings]
# 基础设置
health_check_interval_seconds = 30    # 健康检查间隔
request_timeout_seconds = 30          # 请求超时时间
max_retries = 3                       # 最大重试次数
max_internal_retries = 2              # 内部重试次数
health_check_timeout_seconds = 10     # 健康检查超时

# 熔断器设置
circuit_breaker_failure_threshold = 5 # 熔断器失败阈值
circuit_breaker_timeout_seconds = 60  # 熔断器超时时间
recovery_check_interval_seconds = 120 # 恢复检查间隔

# SmartAI 设置（可选）
[settings.smart_ai]
initial_confidence = 0.8              # 初始信心度
min_confidence = 0.05                 # 最小信心度
enable_time_decay = true              # 启用时间衰减
exploration_ratio = 0.2               # 探索流量比例

# 管理员用户
[users.admin]
name = "Administrator"
token = "berry-admin-token-12345"
allowed_models = []                   # 空数组 = 访问所有模型
enabled = true
tags = ["admin", "unlimited"]

# 普通用户
[users.user1]
name = "Regular User"
token = "berry-user1-token-67890"
allowed_models = ["gpt-3.5-turbo"]   # 限制访问模型
enabled = true
tags = ["user", "basic"]
# 速率限制（可选）
[users.user1.rate_limit]
requests_per_minute = 60
requests_per_hour = 1000

# 高级用户
[users.premium]
name = "Premium User"
token = "berry-premium-token-abcde"
allowed_models = ["gpt-4", "claude-3"]
enabled = true
tags = ["premium", "advanced"]

# OpenAI 配置
[providers.openai]
name = "OpenAI"
base_url = "https://api.openai.com/v1"
api_key = "sk-your-openai-key-here"
models = ["gpt-4", "gpt-3.5-turbo"]
enabled = true
timeout_seconds = 30
backend_type = "openai"               # 后端类型

# Azure OpenAI 配置
[providers.azure]
name = "Azure OpenAI"
base_url = "https://your-resource.openai.azure.com"
api_key = "your-azure-key-here"
models = ["gpt-4", "gpt-35-turbo"]
enabled = true
backend_type = "openai"
# 自定义请求头
[providers.azure.headers]
"api-version" = "2024-02-01"

# Anthropic Claude 配置
[providers.anthropic]
name = "Anthropic"
base_url = "https://api.anthropic.com"
api_key = "sk-ant-your-key-here"
models = ["claude-3-opus", "claude-3-sonnet"]
enabled = true
backend_type = "claude"               # Claude格式

# 基础模型配置
[models.gpt_4]
name = "gpt-4"                        # 对外暴露的模型名
strategy = "weighted_failover"        # 负载均衡策略
enabled = true

# 后端配置 - 主要服务
[[models.gpt_4.backends]]
provider = "openai"
model = "gpt-4"
weight = 0.7                          # 70% 权重
priority = 1                          # 最高优先级
enabled = true
billing_mode = "per_token"            # 计费模式
tags = ["premium"]

# 后端配置 - 备用服务
[[models.gpt_4.backends]]
provider = "azure"
model = "gpt-4"
weight = 0.3                          # 30% 权重
priority = 2                          # 备用优先级
enabled = true
billing_mode = "per_token"
tags = ["enterprise"]
"#;

/// The configuration of its chapter on strategies.
const STRATEGIES: &str = r#"
[models.cost_optimized]
name = "cost-optimized"
strategy = "weighted_random"
enabled = true

[[models.cost_optimized.backends]]
provider = "cheap-provider"
model = "gpt-3.5-turbo"
weight = 0.7  # 70% 流量给便宜的服务
priority = 1
enabled = true

[[models.cost_optimized.backends]]
provider = "premium-provider"
model = "gpt-3.5-turbo"
weight = 0.3  # 30% 流量给高质量服务
priority = 2
enabled = true

[models.balanced]
name = "balanced"
strategy = "round_robin"
enabled = true

[[models.balanced.backends]]
provider = "provider-a"
model = "gpt-4"
weight = 1.0  # 轮询中权重无效
priority = 1
enabled = true

[[models.balanced.backends]]
provider = "provider-b"
model = "gpt-4"
weight = 1.0
priority = 2
enabled = true

[models.fast_response]
name = "fast-response"
strategy = "least_latency"
enabled = true

[[models.fast_response.backends]]
provider = "fast-provider"
model = "gpt-3.5-turbo"
weight = 1.0
priority = 1
enabled = true

[[models.fast_response.backends]]
provider = "slow-provider"
model = "gpt-3.5-turbo"
weight = 1.0
priority = 2
enabled = true

[models.high_availability]
name = "high-availability"
strategy = "failover"
enabled = true

[[models.high_availability.backends]]
provider = "primary-provider"
model = "gpt-4"
weight = 1.0
priority = 1  # 最高优先级，优先使用
enabled = true

[[models.high_availability.backends]]
provider = "backup-provider"
model = "gpt-4"
weight = 1.0
priority = 2  # 备用，主服务故障时使用
enabled = true

[[models.high_availability.backends]]
provider = "emergency-provider"
model = "gpt-4"
weight = 1.0
priority = 3  # 应急，前两个都故障时使用
enabled = true

[models.smart_model]
name = "smart-model"
strategy = "weighted_failover"
enabled = true

[[models.smart_model.backends]]
provider = "openai-main"
model = "gpt-4"
weight = 0.6    # 60%权重 - 主要服务
priority = 1    # 最高优先级
enabled = true

[[models.smart_model.backends]]
provider = "openai-backup"
model = "gpt-4"
weight = 0.3    # 30%权重 - 备用服务
priority = 2    # 中等优先级
enabled = true

[[models.smart_model.backends]]
provider = "azure"
model = "gpt-4"
weight = 0.1    # 10%权重 - 应急服务
priority = 3    # 最低优先级
enabled = true

[models.simple_random]
name = "simple-random"
strategy = "random"
enabled = true

[[models.simple_random.backends]]
provider = "provider-a"
model = "gpt-3.5-turbo"
weight = 1.0  # 随机策略中权重无效
priority = 1
enabled = true
"#;

/// The configuration of its practical examples. The last user's token, which had 14 characters, was lengthened.
const PRACTICE: &str = r#"
# 企业配置示例
[settings]
health_check_interval_seconds = 30
max_internal_retries = 3
# 不记录敏感信息
log_request_body = false
log_response_body = false
mask_api_keys = true

# 部门用户配置
[users.hr_dept]
name = "HR Department"
token = "hr-dept-token-12345"
allowed_models = ["gpt-3.5-turbo", "claude-3-haiku"]
tags = ["hr", "basic"]

[users.rd_dept]
name = "R&D Department"
token = "rd-dept-token-67890"
allowed_models = ["gpt-4", "claude-3-opus"]
tags = ["rd", "premium"]

# 开发环境用户
[users.dev_team]
name = "Development Team"
token = "dev-team-token-replaced"
allowed_models = []  # 允许访问所有模型
enabled = true
tags = ["dev", "testing"]

# 成本优化配置
[models.cost_effective]
name = "cost-effective"
strategy = "smart_ai"
enabled = true

[[models.cost_effective.backends]]
provider = "cheap_provider"
model = "gpt-3.5-turbo"
weight = 0.8
billing_mode = "per_request"
tags = []

[[models.cost_effective.backends]]
provider = "premium_provider"
model = "gpt-4"
weight = 0.2
billing_mode = "per_token"
tags = ["premium"]

# 成本敏感配置
[models.startup_gpt4]
name = "gpt-4"
strategy = "smart_ai"  # 智能成本控制
enabled = true

[[models.startup_gpt4.backends]]
provider = "budget_provider"
model = "gpt-3.5-turbo"
weight = 1.0
priority = 1
enabled = true

[[models.startup_gpt4.backends]]
provider = "premium_provider"
model = "gpt-4"
weight = 0.1  # 仅作为备选
priority = 2
enabled = true
tags = ["premium"]

[models.ha_gpt4]
name = "ha-gpt-4"
strategy = "weighted_failover"
enabled = true

# 主要云服务商
[[models.ha_gpt4.backends]]
provider = "aws_openai"
model = "gpt-4"
weight = 0.5
priority = 1
enabled = true

# 备用云服务商
[[models.ha_gpt4.backends]]
provider = "azure_openai"
model = "gpt-4"
weight = 0.3
priority = 2
enabled = true

# 应急服务商
[[models.ha_gpt4.backends]]
provider = "gcp_openai"
model = "gpt-4"
weight = 0.2
priority = 3
enabled = true

# 测试模型配置
[models.test_model]
name = "test-model"
strategy = "round_robin"  # 轮询测试所有后端
enabled = true

[[models.test_model.backends]]
provider = "openai"
model = "gpt-3.5-turbo"
weight = 1.0
enabled = true

[[models.test_model.backends]]
provider = "anthropic"
model = "claude-3-sonnet"
weight = 1.0
enabled = true
"#;

const USER: &str = "[users.u]\nname = \"U\"\ntoken = \"berry-admin-token-12345\"\n";

/// Returns the providers that a chapter uses without defining them.
fn providers(ids: &[&str]) -> String {
    let provider = |id: &&str| {
        format!(
            "[providers.{id}]\nname = \"{id}\"\nbase_url = \"https://llm.example.com/{id}/v1\"\n\
             api_key = \"sk-{id}\"\nmodels = [\"gpt-4\", \"gpt-3.5-turbo\", \"claude-3-sonnet\"]\n"
        )
    };
    ids.iter().map(provider).collect()
}

#[test]
fn loads_the_shortest_configuration() {
    let loaded = good(FIRST);
    let model = &loaded.config.models["gpt_4"];
    assert_eq!(model.strategy.as_str(), "weighted_failover");
    assert_eq!(model.backends[0].priority, 1);
    assert!(loaded.config.users["admin"].allows("gpt_4", "gpt-4"));
    let warned: Vec<&str> = loaded.warnings.iter().map(|w| w.path.as_str()).collect();
    assert_eq!(warned, ["users", "users.admin.token"]);
}

#[test]
fn loads_the_reference_with_warnings() {
    let loaded = good(REFERENCE);
    let headers = &loaded.config.providers["azure"].headers;
    assert_eq!(headers["api-version"], "2024-02-01");
    let warned: Vec<&str> = loaded.warnings.iter().map(|w| w.path.as_str()).collect();
    for path in [
        "providers.azure.base_url",
        "providers.anthropic",
        "users.premium.allowed_models[1]",
        "models.gpt_4.backends[1].tags",
    ] {
        assert!(warned.contains(&path), "{path} in {warned:?}");
    }
}

#[test]
fn loads_the_strategies() {
    let ids = [
        "cheap-provider",
        "premium-provider",
        "provider-a",
        "provider-b",
        "fast-provider",
        "slow-provider",
        "primary-provider",
        "backup-provider",
        "emergency-provider",
        "openai-main",
        "openai-backup",
        "azure",
    ];
    let loaded = good(&format!("{USER}{}{STRATEGIES}", providers(&ids)));
    assert_eq!(loaded.config.models.len(), 6);
    let strategy = loaded.config.models["fast_response"].strategy;
    assert_eq!(strategy.as_str(), "least_latency");
}

#[test]
fn loads_the_practical_examples() {
    let ids = [
        "cheap_provider",
        "premium_provider",
        "budget_provider",
        "aws_openai",
        "azure_openai",
        "gcp_openai",
        "openai",
        "anthropic",
    ];
    let loaded = good(&format!("{PRACTICE}{}", providers(&ids)));
    assert_eq!(loaded.config.settings.max_internal_retries, 3);
    let backends = &loaded.config.models["cost_effective"].backends;
    assert_eq!(backends[0].billing_mode, Billing::PerRequest);
    assert_eq!(backends[0].probe, Probe::None);
    assert_eq!(backends[1].probe, Probe::Chat);
}

#[test]
fn deprecated_keys_are_warnings() {
    let old = FIRST
        .replace("[users.admin]", "[settings.batch_metrics]\nenabled = true\n\n[users.admin]")
        .replace("[providers.openai]", "[providers.openai]\ntags = [\"fast\"]");
    let warned: Vec<String> = good(&old).warnings.into_iter().map(|w| w.path).collect();
    for path in ["settings.batch_metrics", "providers.openai.tags"] {
        assert!(warned.iter().any(|warned| warned == path), "{path}");
    }
}

#[test]
fn rejects_a_token_that_is_too_short() {
    let errors = load(&PRACTICE.replace("dev-team-token-replaced", "dev-team-token")).unwrap_err();
    let token = errors.findings.iter().find(|f| f.path == "users.dev_team.token");
    assert!(token.unwrap().message.contains("14 characters"));
}
