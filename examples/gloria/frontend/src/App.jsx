import { useCallback, useEffect, useState } from 'react';

const MESSAGES = '/api/v1/messages';

async function call(url, options) {
  const response = await fetch(url, options);
  const answer = await response.json();
  if (!response.ok)
    throw new Error(answer.error ?? `status ${response.status}`);
  return answer;
}

export default function App() {
  const [answer, setAnswer] = useState({ messages: [] });
  const [draft, setDraft] = useState('');
  const [problem, setProblem] = useState('');

  const refresh = useCallback(async () => {
    try {
      setAnswer(await call(MESSAGES));
      setProblem('');
    } catch (error) {
      setProblem(error.message);
    }
  }, []);

  useEffect(() => {
    refresh();
    const timer = setInterval(refresh, 2000);
    return () => clearInterval(timer);
  }, [refresh]);

  async function post(event) {
    event.preventDefault();
    try {
      await call(MESSAGES, {
        method: 'POST',
        headers: { 'Content-Type': 'application/json' },
        body: JSON.stringify({ body: draft }),
      });
      setDraft('');
      await refresh();
    } catch (error) {
      setProblem(error.message);
    }
  }

  return (
    <main>
      <h1>Gloria</h1>
      <form onSubmit={post}>
        <input value={draft} onChange={(event) => setDraft(event.target.value)}
               placeholder="Say something" aria-label="Message" required />
        <button>Post</button>
      </form>
      {problem && <p role="alert">{problem}</p>}
      <ol reversed>
        {answer.messages.map((message) => (
          <li key={message.id}>
            {message.body}
            <small>{message.processed_at ? 'processed' : 'waiting'}</small>
          </li>
        ))}
      </ol>
      {answer.instance && <footer>answered by {answer.instance}</footer>}
    </main>
  );
}
