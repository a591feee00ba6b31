package main

import (
	"slices"
	"time"

	"sluice/cache"
	"sluice/engine"
	"sluice/server"
	"sluice/server/admin"
	"sluice/server/telemetry"
)

// expiryWarning is how long before its end a certificate turns /readyz amber.
const expiryWarning = 7 * 24 * time.Hour

// checks is what /readyz tells.
func (s *service) checks() []admin.Check {
	var all []admin.Check
	for i := range s.reloader.parts {
		c := admin.Check{Name: partNames[i], State: admin.OK}
		if failure := s.reloader.parts[i].failure.Load(); failure != nil {
			c.State, c.Text = admin.Amber, "the last reload failed, and the last good state is in force: "+*failure
		}
		all = append(all, c)
	}
	stats := s.front.Stats()
	for _, cert := range certificates(stats) {
		c := admin.Check{Name: "certificate-" + cert.name, State: admin.OK, Text: "until " + cert.expires.UTC().Format(time.RFC3339)}
		if left := time.Until(cert.expires); left < 0 {
			c.State, c.Text = admin.Amber, "has expired "+c.Text[len("until "):]
		} else if left < expiryWarning {
			c.State, c.Text = admin.Amber, "expires "+c.Text[len("until "):]
		}
		all = append(all, c)
	}
	if len(*s.roots.inForce.Load()) > 0 {
		all = append(all, s.roots.check(time.Now()))
	}
	if s.secrets != nil {
		c := admin.Check{Name: "pull-secrets", State: admin.OK}
		if wrong := s.secrets.Wrong(); wrong != "" {
			c.State, c.Text = admin.Amber, "the last request to the API server failed, and pods' own credentials are left out: "+wrong
		}
		all = append(all, c)
	}
	review := admin.Check{Name: "reviews", State: admin.OK}
	if s.front.Draining() {
		review.State, review.Text = admin.Failed, "draining"
	}
	return append(all, review)
}

type certificate struct {
	name    string
	expires time.Time
}

func certificates(stats server.Stats) []certificate {
	var all []certificate
	for _, c := range []certificate{{"server", stats.CertificateExpiry}, {"client-ca", stats.ClientCAExpiry}} {
		if !c.expires.IsZero() {
			all = append(all, c)
		}
	}
	return all
}

// instruments are the metrics: functions over counters that are kept where things happen.
func (s *service) instruments() []telemetry.Instrument {
	type counts = func(int64, ...telemetry.Label)
	type values = func(float64, ...telemetry.Label)
	label := func(key, value string) telemetry.Label { return telemetry.Label{Key: key, Value: value} }
	frontCounter := func(name, help string, read func(server.Stats, counts)) telemetry.Instrument {
		return telemetry.Counter(name, help, func(observe counts) { read(s.front.Stats(), observe) })
	}
	frontGauge := func(name, help string, read func(server.Stats, values)) telemetry.Instrument {
		return telemetry.Gauge(name, help, func(observe values) { read(s.front.Stats(), observe) })
	}
	cacheCounter := func(name, help string, read func(cache.Stats, counts, telemetry.Label)) telemetry.Instrument {
		return telemetry.Counter(name, help, func(observe counts) {
			for cacheName, stats := range s.caches() {
				read(stats, observe, label("cache", cacheName))
			}
		})
	}
	perPart := func(observe func(i int, p *part, l telemetry.Label)) {
		for i := range s.reloader.parts {
			observe(i, &s.reloader.parts[i], label("part", partNames[i]))
		}
	}
	cacheResult := func(hit bool) telemetry.Label {
		if hit {
			return label("cache", "hit")
		}
		return label("cache", "miss")
	}
	return slices.Concat(s.registryInstruments(), []telemetry.Instrument{
		frontCounter("sluice_reviews_total", "Reviews answered, by outcome and by whether every image's verdict was cached.",
			func(st server.Stats, observe counts) {
				for _, r := range st.Reviews {
					observe(int64(r.Count), label("verdict", r.Outcome.String()), cacheResult(r.Hit))
				}
			}),
		frontCounter("sluice_review_reasons_total", "Reviews answered, by the reason that decided.",
			func(st server.Stats, observe counts) {
				for _, r := range st.Reasons {
					observe(int64(r.Count), label("reason", r.Reason.String()))
				}
			}),
		frontCounter("sluice_door_reviews_total", "Reviews answered, by the door they came to (imagereview, validate, mutate) and by outcome.",
			func(st server.Stats, observe counts) {
				for _, d := range st.Doors {
					observe(int64(d.Count), label("door", d.Door), label("verdict", d.Outcome.String()))
				}
			}),
		frontCounter("sluice_unusable_reviews_total", "Requests that were no usable review, each answered with a denial, by what was wrong.",
			func(st server.Stats, observe counts) {
				for kind, n := range st.Unusable {
					observe(int64(n), label("problem", kind))
				}
			}),
		frontCounter("sluice_refused_requests_total", "Requests that were no review's business, by what was wrong.",
			func(st server.Stats, observe counts) {
				for kind, n := range st.Refused {
					observe(int64(n), label("problem", kind))
				}
			}),
		frontCounter("sluice_panics_total", "Panics recovered, each answered with a denial.",
			func(st server.Stats, observe counts) { observe(int64(st.Panics)) }),
		frontGauge("sluice_reviews_in_flight", "Reviews being decided.",
			func(st server.Stats, observe values) { observe(float64(st.InFlight)) }),
		telemetry.Histogram("sluice_review_duration_seconds", "From when a request has been read until its reply is written down.",
			s.front.Stats().Hits.Bounds, func(observe func([]uint64, float64, ...telemetry.Label)) {
				st := s.front.Stats()
				observe(st.Hits.Counts, st.Hits.Sum, cacheResult(true))
				observe(st.Misses.Counts, st.Misses.Sum, cacheResult(false))
			}),
		frontGauge("sluice_body_bytes", "Memory held by large request bodies in flight.",
			func(st server.Stats, observe values) { observe(float64(st.BodyBytes)) }),
		frontGauge("sluice_body_limit_bytes", "Memory that large request bodies in flight may hold.",
			func(st server.Stats, observe values) { observe(float64(st.BodyLimit)) }),
		frontGauge("sluice_bodies_waiting", "Large requests waiting for memory.",
			func(st server.Stats, observe values) { observe(float64(st.BodyWaiting)) }),
		frontCounter("sluice_connections_accepted_total", "Connections accepted.",
			func(st server.Stats, observe counts) { observe(int64(st.ConnectionsAccepted)) }),
		frontCounter("sluice_connections_total", "Connections that came to speak a protocol.",
			func(st server.Stats, observe counts) {
				for protocol, n := range st.Connections {
					observe(int64(n), label("protocol", protocol))
				}
			}),
		frontGauge("sluice_connections_open", "Connections open now.",
			func(st server.Stats, observe values) {
				for state, n := range st.ConnectionsOpen {
					observe(float64(n), label("state", state))
				}
			}),
		frontCounter("sluice_handshakes_total", "TLS handshakes, by how they ended.",
			func(st server.Stats, observe counts) {
				observe(int64(st.Handshakes), label("result", "ok"))
				observe(int64(st.HandshakesFailed), label("result", "failed"))
				observe(int64(st.HandshakesAbandoned), label("result", "abandoned"))
			}),
		frontGauge("sluice_handshakes_waiting", "TLS handshakes waiting for their turn to compute.",
			func(st server.Stats, observe values) { observe(float64(st.HandshakesWaiting)) }),
		frontGauge("sluice_certificate_expiry_timestamp_seconds", "When a certificate ends, as Unix time.",
			func(st server.Stats, observe values) {
				for _, c := range certificates(st) {
					observe(float64(c.expires.Unix()), label("certificate", c.name))
				}
			}),

		cacheCounter("sluice_cache_hits_total", "Look-ups answered from a cache (the verdicts' are sampled: see sluice_reviews_total).",
			func(st cache.Stats, observe counts, l telemetry.Label) {
				observe(int64(st.Hits), l)
			}),
		cacheCounter("sluice_cache_misses_total", "Look-ups that a cache could not answer.",
			func(st cache.Stats, observe counts, l telemetry.Label) {
				observe(int64(st.Misses), l)
			}),
		cacheCounter("sluice_cache_joined_total", "Look-ups that waited for a load that was under way.",
			func(st cache.Stats, observe counts, l telemetry.Label) {
				observe(int64(st.Joined), l)
			}),
		cacheCounter("sluice_cache_loads_total", "Loads begun because nothing was cached, or not for long enough.",
			func(st cache.Stats, observe counts, l telemetry.Label) {
				observe(int64(st.Loads), l)
			}),
		cacheCounter("sluice_cache_evictions_total", "Entries pushed out for want of room.",
			func(st cache.Stats, observe counts, l telemetry.Label) {
				observe(int64(st.Evicted), l)
			}),
		telemetry.Gauge("sluice_cache_cost", "What the entries of a cache cost: their number, or bytes for downloads, for pull-secrets and where the configuration gives a size.", func(observe values) {
			for cacheName, stats := range s.caches() {
				observe(float64(stats.Cost), label("cache", cacheName))
			}
		}),

		telemetry.Counter("sluice_refreshes_total", "Verdicts in use that were due to be decided anew before their end: ok; failed, which leaves the verdict before in force until then; or skipped, because too many were under way.",
			func(observe counts) {
				r := s.engine.Stats().Refreshes
				observe(int64(r.Renewed), label("result", "ok"))
				observe(int64(r.Failed), label("result", "failed"))
				observe(int64(r.Skipped), label("result", "skipped"))
			}),
		telemetry.Gauge("sluice_refreshes_in_flight", "Verdicts being decided anew.",
			func(observe values) {
				r := s.engine.Stats().Refreshes
				observe(float64(r.Begun - r.Renewed - r.Failed))
			}),
		telemetry.Gauge("sluice_checks_in_flight", "Images being checked against registries.",
			func(observe values) { observe(float64(s.engine.Stats().Checking)) }),
		telemetry.Gauge("sluice_checks_waiting", "Images waiting to be checked.",
			func(observe values) { observe(float64(s.engine.Stats().Waiting)) }),
		telemetry.Counter("sluice_checks_shed_total", "Images not checked because too many were waiting.",
			func(observe counts) { observe(int64(s.engine.Stats().Shed)) }),

		telemetry.Counter("sluice_verifications_total", "Verifications of a digest against an authority, by outcome.",
			func(observe counts) {
				done := s.ports.current.Load().verifier.Stats().Verifications
				for _, reason := range engine.Reasons() {
					if n, ok := done[reason]; ok {
						observe(int64(n), label("outcome", reason.String()))
					}
				}
			}),
		telemetry.Counter("sluice_signatures_judged_total", "Signatures and attestations judged, valid or not.",
			func(observe counts) { observe(int64(s.ports.current.Load().verifier.Stats().Judged)) }),
		telemetry.Counter("sluice_signature_panics_total", "Panics recovered while something that a registry sent was judged: it was refused, and somebody may have made it for that.",
			func(observe counts) { observe(int64(s.ports.current.Load().verifier.Stats().Panics)) }),

		telemetry.Counter("sluice_reloads_total", "Reloads, by what was reloaded and how it ended.", func(observe counts) {
			perPart(func(_ int, p *part, l telemetry.Label) {
				observe(int64(p.succeeded.Load()), l, label("result", "ok"))
				observe(int64(p.failed.Load()), l, label("result", "failed"))
			})
		}),
		telemetry.Gauge("sluice_last_reload_successful", "Whether the last reload of a part succeeded (1) or its last good state is in force (0).", func(observe values) {
			perPart(func(_ int, p *part, l telemetry.Label) {
				if p.failure.Load() == nil {
					observe(1, l)
				} else {
					observe(0, l)
				}
			})
		}),
		telemetry.Gauge("sluice_last_reload_success_timestamp_seconds", "When a part was last loaded, as Unix time.", func(observe values) {
			perPart(func(_ int, p *part, l telemetry.Label) { observe(float64(p.last.Load()), l) })
		}),
		telemetry.Gauge("sluice_trusted_root_age_seconds", "How long ago a trusted root's file was written, or a fetched one was last confirmed.",
			func(observe values) {
				s.roots.ages(func(r root, since time.Time) {
					if !since.IsZero() {
						observe(time.Since(since).Seconds(), label("root", r.Name), label("id", short(r.ID)))
					}
				})
			}),
		telemetry.Gauge("sluice_trusted_root_fetched", "Whether a trusted root that policies have fetched is there (1), or what needs it is undecided (0).",
			func(observe values) {
				for _, s := range s.roots.updater.Status() {
					there := 0.0
					if len(s.Root) > 0 {
						there = 1
					}
					observe(there, label("root", s.Mirror))
				}
			}),
		telemetry.Gauge("sluice_trusted_root_expiry_timestamp_seconds", "When what is in a trusted root ends, as Unix time.",
			func(observe values) {
				for _, r := range *s.roots.inForce.Load() {
					for _, e := range r.expiries {
						observe(float64(e.NotAfter.Unix()), label("root", r.Name), label("id", short(r.ID)),
							label("kind", e.Kind), label("name", e.Name))
					}
				}
			}),
		telemetry.Gauge("sluice_policies", "Policies in force.", func(observe values) {
			observe(float64(s.engine.Snapshot().Policies()))
		}),
	})
}

// caches returns the counts of every cache, by name.
func (s *service) caches() map[string]cache.Stats {
	b := s.ports.current.Load()
	signatures := b.verifier.Stats()
	all := map[string]cache.Stats{
		"verdicts":   s.engine.Stats().Verdicts,
		"tags":       b.resolver.TagStats(),
		"signatures": signatures.Facts,
		"downloads":  signatures.Downloads,
	}
	if s.secrets != nil {
		all["pull-secrets"] = s.secrets.Stats().Cache
	}
	return all
}
