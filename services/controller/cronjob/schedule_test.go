package cronjob

import (
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

func at(t *testing.T, s string) time.Time {
	t.Helper()
	if s == "" {
		return time.Time{}
	}
	v, err := time.Parse(time.RFC3339, s)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestSchedule(t *testing.T) {
	for _, tt := range []struct {
		name, schedule, zone, created, last, now string
		latest, next                             string
	}{
		{"not yet", "0 * * * *", "", "2030-01-01T10:10:00Z", "", "2030-01-01T10:59:59Z", "", "2030-01-01T11:00:00Z"},
		{"on time", "0 * * * *", "", "2030-01-01T10:10:00Z", "", "2030-01-01T11:00:00Z", "2030-01-01T11:00:00Z", "2030-01-01T12:00:00Z"},
		{"already run", "0 * * * *", "", "2030-01-01T10:10:00Z", "2030-01-01T11:00:00Z", "2030-01-01T11:20:00Z", "", "2030-01-01T12:00:00Z"},
		{"only the last of those missed", "*/5 * * * *", "", "2029-01-01T00:00:00Z", "", "2030-06-01T11:23:00Z", "2030-06-01T11:20:00Z", "2030-06-01T11:25:00Z"},
		{"once a year", "30 4 1 2 *", "", "2029-01-01T00:00:00Z", "", "2030-01-15T00:00:00Z", "2029-02-01T04:30:00Z", "2030-02-01T04:30:00Z"},
		{"never", "0 0 30 2 *", "", "2029-01-01T00:00:00Z", "", "2030-01-15T00:00:00Z", "", ""},
		{"another time zone", "0 9 * * *", "Asia/Tokyo", "2030-01-01T00:30:00Z", "", "2030-01-02T00:00:00Z", "2030-01-02T00:00:00Z", "2030-01-03T00:00:00Z"},
		{"summer time begins", "0 12 * * *", "Europe/Berlin", "2030-03-30T12:00:00Z", "", "2030-03-31T10:00:00Z", "2030-03-31T10:00:00Z", "2030-04-01T10:00:00Z"},
		{"an interval counts from the creation", "@every 90m", "", "2030-01-01T00:10:00Z", "", "2030-01-01T05:00:00Z", "2030-01-01T04:40:00Z", "2030-01-01T06:10:00Z"},
		{"an interval counts from the last run", "@every 90m", "", "2030-01-01T00:00:00Z", "2030-01-01T04:40:00Z", "2030-01-01T05:00:00Z", "", "2030-01-01T06:10:00Z"},
		{"a clock set back", "@every 1h", "", "2030-01-01T00:00:00Z", "", "2029-12-31T23:00:00Z", "", "2030-01-01T01:00:00Z"},
		{"by name", "@daily", "", "2030-01-01T10:00:00Z", "", "2030-01-03T10:00:00Z", "2030-01-03T00:00:00Z", "2030-01-04T00:00:00Z"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			zone := "Etc/UTC"
			if tt.zone != "" {
				zone = tt.zone
			}
			c := &batchv1.CronJob{Spec: batchv1.CronJobSpec{Schedule: tt.schedule, TimeZone: ptr.To(zone)}}
			c.CreationTimestamp = metav1.NewTime(at(t, tt.created))
			if tt.last != "" {
				c.Status.LastScheduleTime = ptr.To(metav1.NewTime(at(t, tt.last)))
			}
			s, err := scheduleOf(c)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := s.latest(at(t, tt.now)), at(t, tt.latest); !got.Equal(want) {
				t.Errorf("latest %v, want %v", got, want)
			}
			if got, want := s.next(at(t, tt.now)), at(t, tt.next); !got.Equal(want) {
				t.Errorf("next %v, want %v", got, want)
			}
		})
	}
}
