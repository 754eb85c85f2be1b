package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"
)

// drainTime is how long a server that is told to end waits for the requests
// under way.
const drainTime = 5 * time.Second

// serve answers HTTP on port 8080 and UDP on port 8081 until ctx ends.
func serve(ctx context.Context) error {
	name, err := os.Hostname()
	if err != nil {
		return err
	}
	packets, err := net.ListenPacket("udp", ":8081")
	if err != nil {
		return err
	}
	go answerUDP(packets, name)

	server := &http.Server{Addr: ":8080", Handler: handler(name), ReadHeaderTimeout: drainTime}
	ended := make(chan error, 1)
	go func() { ended <- server.ListenAndServe() }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer cancel()
	return errors.Join(server.Shutdown(drain), packets.Close())
}

func handler(name string) http.Handler {
	var unready atomic.Bool
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		client, _, _ := net.SplitHostPort(r.RemoteAddr)
		fmt.Fprintf(w, "%s %s\n", name, client)
	})
	mux.HandleFunc("/ok", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("/ready", func(w http.ResponseWriter, _ *http.Request) {
		if unready.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("/set-unready", func(_ http.ResponseWriter, r *http.Request) { unready.Store(r.URL.RawQuery == "true") })
	return mux
}

func answerUDP(packets net.PacketConn, name string) {
	buf := make([]byte, 512)
	for {
		_, from, err := packets.ReadFrom(buf)
		if err != nil {
			return
		}
		host, _, _ := net.SplitHostPort(from.String())
		_, _ = packets.WriteTo([]byte(name+" "+host+"\n"), from) // a client that is gone
	}
}
