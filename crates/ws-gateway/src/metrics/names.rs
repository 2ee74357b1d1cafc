//! The names, which are an interface: changing one breaks somebody's dashboard and says so in CHANGELOG.

boot::metric_table! {
    /// Every metric of the gateway.
    pub enum Metric in "psicoia_gateway_" {
        ConnectionsOpen: Gauge "connections_open" [] "WebSockets that are open.";
        ConnectionsOpened: Counter "connections_opened_total" [] "Upgrades that were accepted.";
        ConnectionsClosed: Counter "connections_closed_total" ["code", "reason"]
            "WebSockets that have ended, by the code of their closing and its reason.";
        UpgradesRejected: Counter "upgrades_rejected_total" ["reason"] "Upgrades that were not accepted, by reason.";
        AcceptBackoffs: Counter "accept_backoffs_total" []
            "Pauses in accepting connections because something was used up, such as open files.";
        CoreConnect: Histogram "core_connect_seconds" []
            "Time until a WebSocket had a connection to a core, all tries together, in seconds.";
        CoreConnections: Gauge "core_connections" ["core"] "Connections to a core, those being made included.";
        CoreConnectFailures: Counter "core_connect_failures_total" ["core"]
            "Connections to a core that could not be made, or were lost at once.";
        CoreEjected: Gauge "core_ejected" ["core"]
            "Whether connections go to other cores because this one has failed: 1, else 0.";
    }
}
