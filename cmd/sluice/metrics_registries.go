package main

import (
	"sluice/resolver"
	"sluice/server/telemetry"
)

// registryInstruments are the metrics of what is asked of others: registries, and whoever has the credentials for them.
func (s *service) registryInstruments() []telemetry.Instrument {
	type counts = func(int64, ...telemetry.Label)
	type values = func(float64, ...telemetry.Label)
	label := func(key, value string) telemetry.Label { return telemetry.Label{Key: key, Value: value} }
	var durations []float64
	for _, b := range resolver.DurationBounds() {
		durations = append(durations, b.Seconds())
	}
	return []telemetry.Instrument{
		telemetry.Counter("sluice_registry_requests_total", "Requests sent on behalf of a registry of the configuration, by outcome. Counts from the last reload of the registries.",
			func(observe counts) {
				for _, r := range s.ports.current.Load().resolver.Stats() {
					for _, o := range r.Outcomes {
						observe(int64(o.Count), label("registry", r.Host), label("outcome", o.Outcome))
					}
				}
			}),
		telemetry.Histogram("sluice_registry_request_duration_seconds", "Durations of requests to registries.", durations,
			func(observe func([]uint64, float64, ...telemetry.Label)) {
				for _, r := range s.ports.current.Load().resolver.Stats() {
					observe(r.Buckets, r.Sum.Seconds(), label("registry", r.Host))
				}
			}),
		telemetry.Counter("sluice_credential_provider_runs_total", "Runs of the kubelet's credential provider plugins, by how they ended. Counts from the last reload of the registries.",
			func(observe counts) {
				if p := s.ports.current.Load().providers; p != nil {
					for _, one := range p.Stats() {
						observe(int64(one.Runs-one.Failures), label("provider", one.Provider), label("result", "ok"))
						observe(int64(one.Failures), label("provider", one.Provider), label("result", "failed"))
					}
				}
			}),
		telemetry.Gauge("sluice_credential_provider_run_seconds", "The mean duration of a credential provider plugin's runs since the last reload of the registries.",
			func(observe values) {
				if p := s.ports.current.Load().providers; p != nil {
					for _, one := range p.Stats() {
						if one.Runs > 0 {
							observe(one.Took.Seconds()/float64(one.Runs), label("provider", one.Provider))
						}
					}
				}
			}),
		telemetry.Counter("sluice_pull_secret_requests_total", "Requests to the API server for pull secrets and service accounts, by how they ended.",
			func(observe counts) {
				if s.secrets != nil {
					st := s.secrets.Stats()
					observe(int64(st.Requests-st.NotFound-st.Forbidden-st.Failed), label("result", "ok"))
					observe(int64(st.NotFound), label("result", "not_found"))
					observe(int64(st.Forbidden), label("result", "forbidden"))
					observe(int64(st.Failed), label("result", "failed"))
				}
			}),
		telemetry.Counter("sluice_pull_secrets_unusable_total", "Pull secrets that are of another type, malformed or too long.",
			func(observe counts) {
				if s.secrets != nil {
					observe(int64(s.secrets.Stats().Unusable))
				}
			}),
	}
}
