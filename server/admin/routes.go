package admin

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/pprof"
	"strings"
	"text/tabwriter"
	"time"
)

// routes is every endpoint there is, in the order of the index. The mux answers 404 and 405 by itself.
func (s *Server) routes() *http.ServeMux {
	mux := http.NewServeMux()
	var index strings.Builder
	table := tabwriter.NewWriter(&index, 0, 0, 2, ' ', 0)
	add := func(pattern, what string, handler http.HandlerFunc) {
		mux.HandleFunc(pattern, handler)
		if what != "" {
			method, path, _ := strings.Cut(pattern, " ")
			fmt.Fprintf(table, "%s\t%s\t%s\n", method, path, what)
		}
	}

	add("GET /livez", "whether the process answers", s.live)
	add("GET /readyz", "whether to send it reviews; ?verbose shows every check", s.ready)
	if s.cfg.Metrics != nil {
		add("GET /metrics", "figures, in the Prometheus exposition format", s.cfg.Metrics.ServeHTTP)
	}
	if s.cfg.Reload != nil {
		add("POST /-/reload", "read configuration, policies and keys again", s.reloads)
	}
	if s.cfg.Level != nil {
		add("GET /-/loglevel", "the level of the log", s.level)
		add("PUT /-/loglevel", "change it: debug, info, warn or error as the body", s.setLevel)
	}
	// The profiles by hand: the import also registers them in http.DefaultServeMux, which nothing serves.
	add("GET /debug/pprof/", "profiles of the running process", pprof.Index)
	add("GET /debug/pprof/cmdline", "", pprof.Cmdline)
	add("GET /debug/pprof/profile", "", pprof.Profile)
	add("GET /debug/pprof/symbol", "", pprof.Symbol)
	add("POST /debug/pprof/symbol", "", pprof.Symbol)
	add("GET /debug/pprof/trace", "", pprof.Trace)

	_ = table.Flush()
	text := "sluice, admin plane\n\n" + index.String()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) })
	return mux
}

// reloads runs one reload at a time: a second order waits for the first to end and then runs its own, since the files
// may have changed after the first one read them.
func (s *Server) reloads(w http.ResponseWriter, r *http.Request) {
	select {
	case s.reload <- struct{}{}:
		defer func() { <-s.reload }()
	case <-r.Context().Done():
		return // nobody is there to be told
	}
	text, err := s.cfg.Reload(r.Context())
	// The time to take the answer begins now, however long the waiting and the reload took.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTimeout))
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		text = "reload failed, the last good state stays:\n" + err.Error()
	}
	_, _ = io.WriteString(w, strings.TrimRight(text, "\n")+"\n")
}

func (s *Server) level(w http.ResponseWriter, _ *http.Request) {
	_, _ = io.WriteString(w, strings.ToLower(s.cfg.Level.Level().String())+"\n")
}

func (s *Server) setLevel(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, "the body could not be read", http.StatusBadRequest)
		return
	}
	var level slog.Level
	switch strings.ToLower(strings.TrimSpace(string(body))) {
	case "debug":
		level = slog.LevelDebug
	case "info":
		level = slog.LevelInfo
	case "warn":
		level = slog.LevelWarn
	case "error":
		level = slog.LevelError
	default:
		http.Error(w, "the body must be debug, info, warn or error", http.StatusBadRequest)
		return
	}
	// The record is written at whichever of the two levels shows more, so that nobody silences the log in silence.
	old := s.cfg.Level.Level()
	if level < old {
		s.cfg.Level.Set(level)
	}
	s.cfg.Logger.LogAttrs(r.Context(), slog.LevelWarn, "log level changed",
		slog.String("from", strings.ToLower(old.String())), slog.String("to", strings.ToLower(level.String())))
	s.cfg.Level.Set(level)
	s.level(w, r)
}
