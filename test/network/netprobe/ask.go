package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// patience bounds one request.
const patience = 3 * time.Second

// clusterCA is where Kubernetes puts the API server's authority.
const clusterCA = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt"

// newClient returns a client that makes a connection for each request.
func newClient() *http.Client {
	transport := &http.Transport{DisableKeepAlives: true}
	if pem, err := os.ReadFile(clusterCA); err == nil {
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(pem)
		transport.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS13}
	}
	return &http.Client{Transport: transport, Timeout: patience}
}

// get prints the answers of as many requests as asked for.
func get(ctx context.Context, url string, rest []string) error {
	times := 1
	if len(rest) > 0 {
		var err error
		if times, err = strconv.Atoi(rest[0]); err != nil {
			return err
		}
	}
	client := newClient()
	for range times {
		body, err := fetch(ctx, client, url)
		if err != nil {
			return err
		}
		fmt.Println(strings.TrimSpace(body))
	}
	return nil
}

func fetch(ctx context.Context, client *http.Client, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", err
	}
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("status %d: %s", resp.StatusCode, body)
	}
	return string(body), nil
}

// loaders is how many requests load has under way at once.
const loaders = 4

// load makes requests until its input ends, then prints how many there were,
// how many failed and how.
func load(ctx context.Context, url string) error {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		defer cancel()
		_, _ = io.Copy(io.Discard, os.Stdin) // until whoever asked has enough
	}()
	var (
		group    sync.WaitGroup
		begun    sync.Once
		mu       sync.Mutex
		requests int
		failures []string
	)
	for range loaders {
		group.Go(func() {
			pace := time.NewTicker(5 * time.Millisecond)
			defer pace.Stop()
			client := newClient()
			for ctx.Err() == nil {
				_, err := fetch(context.WithoutCancel(ctx), client, url)
				begun.Do(func() { fmt.Println("begun") })
				mu.Lock()
				requests++
				if err != nil {
					failures = append(failures, time.Now().Format(time.StampMilli)+" "+err.Error())
				}
				mu.Unlock()
				select {
				case <-pace.C:
				case <-ctx.Done():
				}
			}
		})
	}
	group.Wait()
	fmt.Printf("requests=%d failures=%d %s\n", requests, len(failures), strings.Join(failures[:min(len(failures), 3)], "; "))
	return nil
}

// askUDP prints the answer to a datagram, which is sent again if it is lost.
func askUDP(ctx context.Context, address string) error {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "udp", address)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	buf := make([]byte, 512)
	for range 3 {
		if _, err = conn.Write([]byte("who?")); err != nil {
			return err
		}
		if err = conn.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
			return err
		}
		var n int
		if n, err = conn.Read(buf); err == nil {
			fmt.Print(string(buf[:n]))
			return nil
		}
	}
	return err
}

func dial(ctx context.Context, address string) error {
	dialer := net.Dialer{Timeout: patience}
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	return conn.Close()
}

// lookup prints what a name resolves to, sorted.
func lookup(ctx context.Context, kind, name string) error {
	var out []string
	var err error
	switch resolver := net.DefaultResolver; kind {
	case "a":
		out, err = resolver.LookupHost(ctx, name)
	case "cname":
		var canonical string
		canonical, err = resolver.LookupCNAME(ctx, name)
		out = []string{canonical}
	case "ptr":
		out, err = resolver.LookupAddr(ctx, name)
	case "srv":
		var records []*net.SRV
		_, records, err = resolver.LookupSRV(ctx, "", "", name)
		for _, r := range records {
			out = append(out, fmt.Sprintf("%s:%d", r.Target, r.Port))
		}
	default:
		err = errors.New("unknown kind of record")
	}
	if err != nil {
		return err
	}
	slices.Sort(out)
	fmt.Println(strings.Join(out, "\n"))
	return nil
}
