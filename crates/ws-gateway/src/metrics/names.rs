//! Names of the metrics. They are an interface: a change breaks dashboards and belongs into CHANGELOG.

service_runtime::metric_table! {
    /// Every metric of the gateway.
    pub enum Metric in "psicoia_gateway_" {
        ConnectionsOpen: Gauge "connections_open" [] "Open WebSockets and exchanges of lines.";
        ConnectionsOpened: Counter "connections_opened_total" [] "Accepted upgrades.";
        ConnectionsClosed: Counter "connections_closed_total" ["code", "reason"]
            "Closed WebSockets and exchanges of lines, by close code and reason.";
        UpgradesRejected: Counter "upgrades_rejected_total" ["reason"] "Rejected upgrades, by reason.";
        AcceptBackoffs: Counter "accept_backoffs_total" []
            "Backoffs of the accept loop after errors such as too many open files.";
        CoreConnect: Histogram "core_connect_seconds" []
            "Time to connect a client to a core, all attempts included, in seconds.";
        CoreConnections: Gauge "core_connections" ["core"] "Connections to a core, including pending ones.";
        CoreConnectFailures: Counter "core_connect_failures_total" ["core"]
            "Failed connection attempts to a core, and connections lost immediately.";
        CoreEjected: Gauge "core_ejected" ["core"] "1 while a core is ejected after failures, else 0.";
    }
}
